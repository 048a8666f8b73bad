/** Which actions the list calls available, by what the oauth service said last. */
import { afterEach, describe, expect, test } from 'vitest'
import { pino } from 'pino'
import { z } from 'zod'
import type { Adapter } from '../../../services/actions/adapter.ts'
import { Catalog } from '../../../services/actions/catalog.ts'
import { FollowedProviders } from '../../../services/actions/providers.ts'
import { until } from '../../fixtures/mesh/until.ts'

const log = pino({ level: 'silent' })
const said = 'The provider google is not configured here: set GOOGLE_CLIENT_ID, GOOGLE_CLIENT_SECRET.'
const missing = ['GOOGLE_CLIENT_ID', 'GOOGLE_CLIENT_SECRET']

describe('the state of a provider', () => {
  let followed: FollowedProviders | undefined
  afterEach(() => followed?.stop())

  /** Answered by whatever `answer` is when it is asked; `asked` counts. */
  const following = (first: () => Promise<Map<string, string[]>>) => {
    const at = { answer: first, asked: 0 }
    const ask = () => at.answer().finally(() => (at.asked += 1))
    const providers = new FollowedProviders({ ask, log, intervalMs: 5 })
    followed = providers
    providers.start()
    return { at, providers, askedAgain: (from = at.asked) => until('it is asked again', () => at.asked > from + 1) }
  }
  const away = () => Promise.reject(new Error('away'))

  test('names the missing variables, until they are set; for configured and unknown providers, nothing', async () => {
    const { at, providers, askedAgain } = following(
      async () =>
        new Map([
          ['google', missing],
          ['microsoft', []],
        ]),
    )
    await askedAgain()
    expect(['google', 'microsoft', 'other'].map((name) => providers.unavailable(name))).toEqual([said, undefined, undefined])
    at.answer = async () => new Map([['google', []]])
    await askedAgain()
    expect(providers.unavailable('google')).toBe(undefined)
  })

  test('stays while the oauth service does not respond, and is configured before its first response', async () => {
    const { at, providers, askedAgain } = following(away)
    await askedAgain()
    expect(providers.unavailable('google')).toBe(undefined)
    at.answer = async () => new Map([['google', missing]])
    await askedAgain()
    at.answer = away
    await askedAgain()
    expect(providers.unavailable('google')).toBe(said)
  })
})

describe('the catalog', () => {
  const action = (name: string, more: Partial<Adapter> = {}): Adapter => ({
    reasons: [],
    action: name,
    provider: 'google',
    description: '',
    guarantee: 'At most once.',
    params: z.object({}),
    preview: () => Promise.reject(new Error('nobody previews here')),
    execute: () => Promise.reject(new Error('nobody executes here')),
    reconcile: () => Promise.reject(new Error('nobody reconciles here')),
    ...more,
  })
  const requires = { provider: 'google', scopes: [] } as const
  let unavailable: string | undefined = said
  const catalog = new Catalog(
    [action('needs an account', { requires }), action('needs none'), action('is off', { requires, unavailable: () => 'Set OAUTH_ADDR.' })],
    { unavailable: () => unavailable },
  )

  test('is reported for the actions that need an account there, after their own state', () => {
    const listed = catalog.list().map(({ action: name, unavailable: why }) => [name, why])
    expect(listed).toEqual([
      ['needs an account', said],
      ['needs none', undefined],
      ['is off', 'Set OAUTH_ADDR.'],
    ])
  })

  test('changes the availability as soon as it changes', () => {
    const before = catalog.availability()
    unavailable = undefined
    expect(catalog.availability()).not.toBe(before)
    unavailable = said
    expect(catalog.availability()).toBe(before)
  })

  test('does not count for a preview, which asks itself', () => {
    expect(catalog.require('needs an account').action).toBe('needs an account')
    expect(() => catalog.require('is off')).toThrow('Set OAUTH_ADDR.')
  })
})
