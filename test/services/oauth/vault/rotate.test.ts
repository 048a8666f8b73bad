import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Owner } from '../../../../services/oauth/connections/store.ts'
import { type Rotation, type RotationParts, rotate } from '../../../../services/oauth/vault/rotate.ts'
import { Vault } from '../../../../services/oauth/vault/vault.ts'
import { type SealedConnections, bareBy, eventOf, newKey, sealedConnections } from './sealed-connections.ts'

const [old, fresh, gone] = [newKey(), newKey(), newKey()]
const before = new Vault([old, fresh])
const after = new Vault([fresh, old])
const only = new Vault([fresh])

let connections: SealedConnections
beforeAll(async () => {
  connections = await sealedConnections()
})
afterAll(() => connections.close())
beforeEach(() => connections.empty())

const run = (vault: Vault, parts: Partial<RotationParts> = {}): Promise<Rotation> =>
  rotate({ store: connections.store, vault, limit: 4, ...parts })

/** The tokens of an owner, opened as they are in use. */
async function tokens(owner: Owner, vault: Vault): Promise<{ access: string; refresh: string | undefined }> {
  const { workspace, connectionId, tokens: sealed, legacy } = await connections.held(owner)
  const open = (kind: 'access' | 'refresh', text: string) => vault.open({ workspace, connectionId, kind }, text, { legacy })
  return { access: open('access', sealed.access), refresh: sealed.refresh && open('refresh', sealed.refresh) }
}

describe('a rotation', () => {
  test('puts every token under the first key, and the old one is needed no more', async () => {
    const owners = await connections.fill(11, before)
    const told: Rotation[] = []
    expect(await run(after, { progress: (soFar) => told.push(soFar) })).toEqual({ seen: 11, rotated: 11, refused: [] })
    expect(told.map(({ seen, rotated }) => [seen, rotated])).toEqual([4, 8, 11].map((count) => [count, count]))
    for (const [index, owner] of owners.entries()) {
      expect(await tokens(owner, only)).toEqual({ access: `access-${index}`, refresh: index % 3 === 2 ? undefined : `refresh-${index}` })
    }
  })

  test('changes nothing but how tokens are sealed: no epoch, no lease, no date', async () => {
    const [owner] = await connections.fill(1, before)
    const { connectionId, epoch, version } = await connections.held(owner!)
    await connections.store.takeRefresh(connectionId, epoch, 60_000)
    const [was] = await connections.rows()
    await run(after)
    const [is] = await connections.rows()
    const unsealed = (row: string) => row.replaceAll(/v1\.[0-9a-f]{8}\.[\w=-]+/g, 'sealed')
    expect(is).not.toBe(was)
    expect(unsealed(is!)).toBe(unsealed(was!))
    // Whoever refreshes meanwhile still writes what the provider gave, which is given once.
    const access = after.seal({ workspace: 'acme', connectionId, kind: 'access' }, 'the next')
    expect(
      await connections.store.writeRefreshed(
        connectionId,
        version,
        { access, accessExpiresAt: new Date() },
        eventOf('connection.recovered'),
      ),
    ).toBeDefined()
    expect(await tokens(owner!, only)).toEqual({ access: 'the next', refresh: 'refresh-0' })
  })

  test('goes on where it was stopped, and does nothing twice', async () => {
    await connections.fill(11, before)
    const stop = () => {
      throw new Error('stopped')
    }
    await expect(run(after, { progress: stop })).rejects.toThrow('stopped')
    expect(await connections.notUnder(after.firstKid)).toBe(7)
    expect(await run(after)).toEqual({ seen: 11, rotated: 7, refused: [] })
    const rows = await connections.rows()
    expect(await run(after)).toEqual({ seen: 11, rotated: 0, refused: [] })
    expect(await connections.rows()).toEqual(rows)
  })

  test('leaves a batch as it was when it is stopped within', async () => {
    await connections.fill(4, before)
    const rows = await connections.rows()
    let opened = 0
    class Stopping extends Vault {
      override reseal(...args: Parameters<Vault['reseal']>) {
        opened += 1
        if (opened > 3) throw new Error('stopped')
        return super.reseal(...args)
      }
    }
    await expect(run(new Stopping([fresh, old]))).rejects.toThrow('stopped')
    expect(await connections.rows()).toEqual(rows)
  })

  test('goes back with the list the other way round', async () => {
    const owners = await connections.fill(5, before)
    await run(after)
    expect(await run(before)).toEqual({ seen: 5, rotated: 5, refused: [] })
    expect(await tokens(owners[0]!, new Vault([old]))).toEqual({ access: 'access-0', refresh: 'refresh-0' })
  })

  test('finishes connections of which only one token was written since', async () => {
    const [owner] = await connections.fill(1, before)
    const { connectionId } = await connections.held(owner!)
    await connections.put(owner!, 'access_sealed', after.seal({ workspace: 'acme', connectionId, kind: 'access' }, 'written since'))
    expect(await run(after)).toMatchObject({ rotated: 1 })
    expect(await tokens(owner!, only)).toEqual({ access: 'written since', refresh: 'refresh-0' })
  })

  test('seals what the service before left bare, binds it, and the row is no longer legacy', async () => {
    const [owner, other] = await connections.fill(2, before)
    await connections.put(owner!, 'access_sealed', bareBy(old, 'ya29.a'))
    await connections.put(owner!, 'refresh_sealed', bareBy(old, '1//r'))
    await connections.put(owner!, 'legacy', true)
    // A bare token in a row that is not marked is nobody's.
    await connections.put(other!, 'access_sealed', bareBy(old, 'ya29.b'))
    const { connectionId } = await connections.held(other!)
    const refused = [{ workspace: 'acme', connectionId, kind: 'access', reason: 'unreadable' }]
    expect(await run(after)).toEqual({ seen: 2, rotated: 1, refused })
    expect((await connections.held(owner!)).legacy).toBe(false)
    expect(await tokens(owner!, only)).toEqual({ access: 'ya29.a', refresh: '1//r' })
  })

  test('leaves connections whole that it cannot open, names them, and goes on with the others', async () => {
    const owners = await connections.fill(7, before)
    const ids = await Promise.all(owners.map(async (owner) => (await connections.held(owner)).connectionId))
    const lost = new Vault([gone]).seal({ workspace: 'acme', connectionId: ids[1]!, kind: 'refresh' }, 'x')
    await connections.put(owners[1]!, 'refresh_sealed', lost)
    await connections.put(owners[3]!, 'access_sealed', (await connections.held(owners[4]!)).tokens.access)
    const kept = await Promise.all([1, 3].map((index) => connections.held(owners[index]!)))
    const { seen, rotated, refused } = await run(after)
    expect({ seen, rotated }).toEqual({ seen: 7, rotated: 5 })
    expect(refused).toHaveLength(2)
    expect(refused).toContainEqual({ workspace: 'acme', connectionId: ids[1], kind: 'refresh', reason: 'unreadable' })
    expect(refused).toContainEqual({ workspace: 'acme', connectionId: ids[3], kind: 'access', reason: 'context_mismatch' })
    expect(await Promise.all([1, 3].map((index) => connections.held(owners[index]!)))).toEqual(kept)
  })

  test('changes nothing when it only looks, and counts what it would do', async () => {
    const owners = await connections.fill(5, before)
    await connections.put(owners[0]!, 'access_sealed', (await connections.held(owners[1]!)).tokens.access)
    const rows = await connections.rows()
    expect(await run(after, { dry: true })).toMatchObject({ seen: 5, rotated: 4, refused: [{ reason: 'context_mismatch' }] })
    expect(await connections.rows()).toEqual(rows)
  })

  test('is done once by several at a time, while connections are refreshed and removed', async () => {
    const owners = await connections.fill(40, before)
    const write = async (owner: Owner) => {
      const { connectionId, epoch, version } = await connections.held(owner)
      await connections.store.takeRefresh(connectionId, epoch, 60_000)
      const seal = (kind: 'access' | 'refresh') => after.seal({ workspace: owner.workspace, connectionId, kind }, `new ${kind}`)
      const written = { access: seal('access'), accessExpiresAt: new Date(), refresh: seal('refresh') }
      return connections.store.writeRefreshed(connectionId, version, written, eventOf('connection.recovered'))
    }
    const remove = async (owner: Owner) => {
      const { connectionId } = await connections.held(owner)
      return connections.store.disconnect(owner.workspace, owner.actor, connectionId, eventOf('connection.removed'))
    }
    const changes = [...owners.slice(0, 10).map(write), ...owners.slice(30).map(remove)]
    const [one, other, ...changed] = await Promise.all([run(after), run(after, { limit: 7 }), ...changes])
    expect(changed.every((each) => each !== undefined)).toBe(true)
    expect(await connections.rows()).toHaveLength(30)
    expect([one.refused, other.refused]).toEqual([[], []])
    expect(one.rotated + other.rotated).toBeLessThanOrEqual(40)
    expect(await connections.notUnder(after.firstKid)).toBe(0)
    for (const [index, owner] of owners.slice(0, 30).entries()) {
      expect((await tokens(owner, only)).access).toBe(index < 10 ? 'new access' : `access-${index}`)
    }
  })

  test('of nothing is nothing', async () => {
    expect(await run(after)).toEqual({ seen: 0, rotated: 0, refused: [] })
  })
})
