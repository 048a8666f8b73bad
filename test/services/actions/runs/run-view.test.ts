import { expect, test } from 'vitest'
import { type Viewer, showDetails } from '../../../../services/actions/runs/run-view.ts'

const ada: Viewer = { actor: 'ada', may: () => false }
const error = 'WEBHOOK_STATUS: 401: the token hunter2-hunter2 is not known'
const run = { runId: '0b', actor: 'ada', errorReason: 'WEBHOOK_STATUS', error, detailsRemoved: false }
const details = {
  params: Buffer.from(JSON.stringify({ body: { token: 'hunter2-hunter2' } })),
  result: { response: 'the token hunter2-hunter2 is not known' },
}

test('an error that repeats a secret is shown without it beside the parameters, and by its reason alone where they are not at hand', () => {
  expect(showDetails(run, details, ada)).toMatchObject({ error: 'WEBHOOK_STATUS: 401: the token [redacted] is not known', withheld: '' })
  expect(showDetails(run, undefined, ada)).toMatchObject({
    params: {},
    result: undefined,
    error: 'WEBHOOK_STATUS: see /actions/runs/0b.',
    withheld: 'size',
  })
  const viewers = [ada, { actor: 'root', may: () => true }, { actor: 'bob', may: () => false }]
  for (const viewer of viewers) {
    for (const known of [details, undefined]) expect(JSON.stringify(showDetails(run, known, viewer))).not.toContain('hunter2')
  }
})

test('an error that a list cuts within a secret does not show the beginning of it', () => {
  const cut = { ...run, error: error.slice(0, error.indexOf('-hunter2')) }
  expect(showDetails(cut, details, ada).error).toBe('WEBHOOK_STATUS: 401: the token [redacted]')
})
