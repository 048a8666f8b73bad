import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Deliveries } from '../../gate/delivery-report.ts'
import { nonceIn } from '../../gate/receiver.ts'

/** What became of one preview. */
const story = fc.record({
  asked: fc.boolean(),
  succeeded: fc.boolean(),
  arrivals: fc.array(fc.constantFrom('its run', 'another run'), { maxLength: 3 }),
})

test('the books are in order exactly when each success arrived once, under its own run, and nothing came unasked or twice', () => {
  fc.assert(
    fc.property(fc.array(story, { maxLength: 20 }), (stories) => {
      const deliveries = new Deliveries()
      let wrong = 0
      for (const [index, { asked, succeeded, arrivals }] of stories.entries()) {
        const nonce = `n${index}`
        const run = `run-${index}`
        const success = asked && succeeded
        if (asked) deliveries.asked(nonce)
        for (const id of arrivals) deliveries.arrived({ nonce, webhookId: id === 'its run' ? run : undefined })
        if (success) deliveries.succeeded(nonce, run)
        const right = success ? arrivals.join(', ') === 'its run' : asked ? arrivals.length <= 1 : arrivals.length === 0
        if (!right) wrong += 1
      }
      expect(deliveries.deliveryReport().wrong).toBe(wrong)
    }),
  )
})

test('only what is marked as this run of the gate is counted, whatever else arrives', () => {
  expect(nonceIn('{"gate":"tag","nonce":"n1"}', 'tag')).toBe('n1')
  for (const other of ['{"gate":"other","nonce":"n1"}', '{"gate":"tag","nonce":1}', 'null', '[]', '"tag"', '', '{']) {
    expect(nonceIn(other, 'tag'), other).toBeUndefined()
  }
  fc.assert(
    fc.property(fc.json(), (text) => {
      expect(nonceIn(text, 'a tag that no JSON here has')).toBeUndefined()
    }),
  )
})
