import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ownContext } from '#mesh/grpc/call.ts'
import { type FreshDatabase, freshDatabase } from '../../setup/database.ts'
import { claimRequest, count, keyOf, migrations, outcomeOf, startOnPostgres } from './replica.ts'

describe('two replicas of the idempotency service on one database', () => {
  let fresh: FreshDatabase
  let replicas: Awaited<ReturnType<typeof startOnPostgres>>[]
  beforeAll(async () => {
    fresh = await freshDatabase(migrations)
    replicas = [await startOnPostgres(fresh.url), await startOnPostgres(fresh.url)]
  })
  afterAll(async () => {
    await Promise.all(replicas.map((replica) => replica.close()))
    await fresh.drop()
  })

  test('of 100 claims at once on one key one is granted, and the others learn its run', async () => {
    for (let round = 0; round < 5; round += 1) {
      const key = keyOf()
      const requests = Array.from({ length: 100 }, () => claimRequest(key))
      const responses = await Promise.all(requests.map((request, index) => replicas[index % 2]!.client.claim(request, ownContext())))
      expect(count(responses)).toEqual({ granted: 1, inFlight: 99 })
      const winner = requests[responses.findIndex(({ outcome }) => outcome?.$case === 'granted')]!
      for (const { outcome } of responses) expect(outcome).toMatchObject({ value: { runId: winner.runId } })
    }
  })

  test('a request repeated to the other one, its reply lost, has the same grant', async () => {
    const request = claimRequest()
    const first = outcomeOf(await replicas[0]!.client.claim(request, ownContext()), 'granted')
    const again = outcomeOf(await replicas[1]!.client.claim(request, ownContext()), 'granted')
    expect({ ...again, leaseMs: first.leaseMs }).toEqual(first)
  })

  test('a request whose caller gave up at once is decided once: the repeated one has the grant that was made, or makes it', async () => {
    for (let round = 0; round < 20; round += 1) {
      const request = claimRequest()
      const gone = new AbortController()
      const lost = replicas[0]!.client.claim(request, { ...ownContext(), signal: gone.signal })
      setTimeout(() => gone.abort(), round / 5)
      await lost.catch(() => undefined)
      const { token, runId } = outcomeOf(await replicas[1]!.client.claim(request, ownContext()), 'granted')
      expect(runId).toBe(request.runId)
      expect(count([await replicas[0]!.client.claim(claimRequest(request.key), ownContext())])).toEqual({ inFlight: 1 })
      await replicas[0]!.client.complete({ key: request.key, runId, token, response: undefined }, ownContext())
    }
  })

  test('what one completes, the other answers', async () => {
    const request = claimRequest()
    const { token, runId } = outcomeOf(await replicas[0]!.client.claim(request, ownContext()), 'granted')
    await replicas[1]!.client.complete({ key: request.key, runId, token, response: Buffer.from('stored') }, ownContext())
    const looked = await replicas[0]!.client.claim(claimRequest(request.key, { fingerprint: undefined }), ownContext())
    expect(outcomeOf(looked, 'completed')).toEqual({ runId, response: Buffer.from('stored') })
  })
})
