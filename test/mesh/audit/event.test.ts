import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { readAuditEvent } from '#mesh/audit/event.ts'
import { anEvent } from './events.ts'

describe('an event in an outbox', () => {
  test('is read as it was written', () => {
    const event = anEvent({ outcome: 'unknown', reason: 'TIMEOUT', targets: ['run:1', 'preview:2'] })
    expect(readAuditEvent(JSON.stringify(event))).toEqual(event)
  })

  test('is nothing else than its fields: what else stands there is not sent on', () => {
    expect(readAuditEvent(JSON.stringify({ ...anEvent(), secret: 'x' }))).not.toHaveProperty('secret')
  })

  test.each([
    ['no JSON', '{'],
    ['no object', 'null'],
    ['a list', '[]'],
    ['a field missing', JSON.stringify({ ...anEvent(), actor: undefined })],
    ['a number for a text', JSON.stringify({ ...anEvent(), source: 1 })],
    ['another outcome', JSON.stringify({ ...anEvent(), outcome: 'fine' })],
    ['targets that are no list', JSON.stringify({ ...anEvent(), targets: 'run:1' })],
    ['targets that are no texts', JSON.stringify({ ...anEvent(), targets: [{}] })],
    ['no count', JSON.stringify({ ...anEvent(), count: 0 })],
    ['half a count', JSON.stringify({ ...anEvent(), count: 1.5 })],
    ['more than a message should carry', JSON.stringify(anEvent({ targets: ['x'.repeat(5000)] }))],
  ])('is none with %s', (_, text) => {
    expect(readAuditEvent(text)).toBeUndefined()
  })

  test('never throws, whatever the text', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.json(),
          fc.object().map((value) => JSON.stringify({ ...anEvent(), ...value })),
        ),
        (text) => {
          const read = readAuditEvent(text)
          if (read !== undefined) expect(readAuditEvent(JSON.stringify(read))).toEqual(read)
        },
      ),
    )
  })
})
