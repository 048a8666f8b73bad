import { expect, test } from 'vitest'
import { type Status, type Story, untruths } from './verdict.ts'

const strict = { redelivery: false }
const story = (nonce: string, statuses: Status[], more: Partial<Story> = {}): Story => ({
  nonce,
  action: 'webhook.save',
  redelivers: false,
  told: statuses.map((status) => ({ runId: `run-${nonce}`, status, reason: status === 'success' ? undefined : 'WHY' })),
  refusals: [],
  ...more,
})
const toldOnce = { runId: 'r', status: 'success', reason: undefined } as const
const times = (counts: Record<string, number>) => (nonce: string) => counts[nonce] ?? 0

test('a true statement is accepted: a success that arrived once, a failure that did not, an unknown of either kind, or one that became known', () => {
  const ends: Record<string, Status[]> = { a: ['success'], b: ['failed'], c: ['unknown'], d: ['unknown'], e: ['unknown', 'success'] }
  const stories = Object.entries(ends).map(([nonce, statuses]) => story(nonce, statuses))
  expect(untruths(stories, times({ a: 1, d: 1, e: 1 }), strict)).toEqual([])
})

test.each<[string, Story, number]>([
  ['a success of which nothing arrived', story('a', ['success']), 0],
  ['a success that arrived twice', story('a', ['success']), 2],
  ['a failure that arrived', story('a', ['failed']), 1],
  ['an unknown that arrived twice', story('a', ['unknown']), 2],
  ['a success that is unknown now', story('a', ['success', 'unknown']), 1],
  ['a failure that is a success now', story('a', ['failed', 'success']), 1],
  ['a key without an end', story('a', []), 0],
  ['a refusal of what is in order', story('a', ['success'], { refusals: ['404 PREVIEW_INVALID'] }), 1],
  ['a second delivery where only a crash would allow one', story('a', ['success'], { redelivers: true }), 2],
  ['one key with two runs', story('a', [], { told: ['x', 'y'].map((runId) => ({ ...toldOnce, runId })) }), 1],
])('%s is found', (_, one, arrived) => {
  expect(untruths([one], () => arrived, strict)).toHaveLength(1)
})

test('one run for two keys is found', () => {
  const same = { told: [toldOnce] }
  expect(untruths([story('a', [], same), story('b', [], same)], () => 1, strict)).toEqual(['webhook.save r has the run of a'])
})

test('a second delivery is acceptable if the preview showed it and an owner was cut off', () => {
  expect(untruths([story('a', ['success'], { redelivers: true })], () => 2, { redelivery: true })).toEqual([])
  expect(untruths([story('a', ['success'])], () => 2, { redelivery: true })).toHaveLength(1)
})
