/** `relay-access rotate-signing-key`: a new signing key now, for when the one in use may be known to somebody. */
import { Sealer } from './key-pair.ts'
import { KeyRing } from './key-ring.ts'
import type { SigningKeyStore } from './store.ts'

/** What is printed. Running services take the new key up by themselves. */
export async function rotateSigningKey({ store, secret }: { store: SigningKeyStore; secret: string }): Promise<string> {
  const ring = new KeyRing({ store, sealer: new Sealer(secret), lifetimeMs: Infinity })
  const { kid, signsFrom } = await ring.rotate()
  return `${kid} signs from ${signsFrom.toISOString()}; tokens of the key before it are believed for five minutes more`
}
