/**
 * The cost of authentication in a service, after it has seen the two tokens of a hop: the gateway's proof of its name and the caller's
 * token, through the interceptor that every call passes. In this process, without a network.
 */
import { generateKeyPairSync } from 'node:crypto'
import { SignJWT } from 'jose'
import type { Call } from '#mesh/grpc/call.ts'
import { methodOf } from '#mesh/grpc/descriptors.ts'
import { policy } from '#mesh/grpc/interceptors/policy.ts'
import { CallerTokens, callerToken } from '#mesh/identity/caller-tokens.ts'
import { xOf } from '#mesh/identity/ed25519.ts'
import { PeerTokens, peerTokenOf } from '#mesh/identity/peer-tokens.ts'
import { spread } from '../measure/statistics.ts'

const callsATurn = 20_000
const turns = 30

/** Microseconds per call: the first, which verifies both tokens, and the median of the others. */
export async function measureHop(): Promise<{ firstUs: number; cachedUs: number }> {
  const [issuer, gateway] = [generateKeyPairSync('ed25519').privateKey, generateKeyPairSync('ed25519').privateKey]
  const callers = new CallerTokens()
  callers.update({ signingKeys: [{ kid: 'bench', x: xOf(issuer) }] })
  const peers = new PeerTokens({ audience: 'actions', peers: new Map([['gateway', [xOf(gateway)]]]) })
  const token = await new SignJWT({ ws: 'default', key: 'bench', perms: ['actions:read', 'actions:preview', 'actions:execute'] })
    .setProtectedHeader({ alg: 'EdDSA', kid: 'bench', typ: callerToken.typ })
    .setIssuer(callerToken.issuer)
    .setAudience(callerToken.audience)
    .setSubject('bench')
    .setIssuedAt()
    .setExpirationTime('4m')
    .sign(issuer)
  const peerToken = await peerTokenOf('gateway', gateway)('actions')
  const check = policy({ caller: (each) => callers.caller(each), peer: (each) => peers.peer(each) })
  const method = methodOf('/relay.actions.v1.ActionsService/ListActions')
  const done = Promise.resolve(new Uint8Array())
  const call = () => check({ method, callerToken: token, peerToken, caller: undefined, peer: undefined } as unknown as Call, () => done)

  const took = async (calls: number): Promise<number> => {
    const start = performance.now()
    for (let each = 0; each < calls; each += 1) await call()
    return ((performance.now() - start) * 1000) / calls
  }
  const firstUs = await took(1)
  await took(callsATurn)
  const measured: number[] = []
  for (let turn = 0; turn < turns; turn += 1) measured.push(await took(callsATurn))
  return { firstUs, cachedUs: spread(measured).median }
}
