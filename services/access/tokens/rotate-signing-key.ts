/** `relay-access rotate-signing-key`: creates a new signing key now, in case the current one may have leaked. */
import { Sealer } from './key-pair.ts'
import { KeyRing } from './key-ring.ts'
import type { SigningKeyStore } from './store.ts'

/** Returns the text to print. Running services use the new key without a restart. */
export async function rotateSigningKey({ store, secret }: { store: SigningKeyStore; secret: string }): Promise<string> {
  const ring = new KeyRing({ store, sealer: new Sealer(secret), lifetimeMs: Infinity })
  const { kid, signsFrom } = await ring.rotate()
  return `${kid} signs from ${signsFrom.toISOString()}; tokens of the previous key stay valid for five more minutes`
}
