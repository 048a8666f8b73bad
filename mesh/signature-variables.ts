/** The secrets that signature keys derive from (signature-keys.ts), as variables. */
import { type Config, ConfigError, type Secret, optional, secret } from './config.ts'
import { weaknessOf } from './secrets.ts'
import { SignatureKeys, purposes } from './signature-keys.ts'
import { SignatureKeyring, type SignatureStates } from './signature-states.ts'
import type { Logger } from './telemetry/log.ts'
import type { Metrics } from './telemetry/metrics.ts'

export const rootVariable = {
  signatureRoot: optional(
    secret('SIGNATURE_ROOT_SECRET', 'Root secret of all signature keys; the same in access, actions and gateway, and nowhere else'),
  ),
}

/** The variables of processes that sign or verify. */
export const signatureVariables = {
  ...rootVariable,
  signingSecret: optional(
    secret('ACTIONS_SIGNING_SECRET', 'The signature key of workspace default from before SIGNATURE_ROOT_SECRET, while it is still in use'),
  ),
}

/** The problems of these secrets, as sentences. Production has a root, which is never a secret that a receiver knows. */
export function signatureProblems({
  environment,
  signatureRoot,
  signingSecret,
}: Config<typeof signatureVariables> & { environment: string }): string[] {
  const problems: string[] = []
  if (environment === 'production') {
    const [weakRoot, weakLegacy] = [weaknessOf(signatureRoot), signingSecret && weaknessOf(signingSecret)]
    if (weakRoot !== undefined) {
      problems.push(
        `SIGNATURE_ROOT_SECRET ${weakRoot}: without it, anyone who verifies webhooks of workspace default can sign for every workspace`,
      )
    }
    if (weakLegacy !== undefined) problems.push(`ACTIONS_SIGNING_SECRET ${weakLegacy}`)
  }
  if (signatureRoot !== undefined && signatureRoot.reveal() === signingSecret?.reveal()) {
    problems.push('SIGNATURE_ROOT_SECRET is ACTIONS_SIGNING_SECRET, which receivers have: make another one')
  }
  return problems
}

/** Throws ConfigError. */
export function checkSignatureSecrets(config: Config<typeof signatureVariables> & { environment: string }): void {
  const problems = signatureProblems(config)
  if (problems.length > 0) throw new ConfigError(problems.join('\n  '))
}

interface Secrets {
  readonly signatureRoot: Secret | undefined
  readonly signingSecret?: Secret | undefined
}

/** The keys that derive from these secrets. */
export const signatureKeysOf = ({ signatureRoot, signingSecret }: Secrets) =>
  new SignatureKeys({ root: signatureRoot?.reveal(), legacy: signingSecret?.reveal() })

/** Signs and verifies with them, as access says (`followAccess`); undefined if no secret is configured. */
export function signatureKeyring(
  secrets: Secrets,
  following: { signatures: SignatureStates },
  { log, metrics }: { log: Logger; metrics: Metrics },
): SignatureKeyring | undefined {
  if (secrets.signatureRoot === undefined && secrets.signingSecret === undefined) return undefined
  const { signatures: states } = following
  metrics.gauge('signature_key_overlaps', 'Workspaces whose previous signature key is still in use', { purpose: purposes }, (gauge) => {
    for (const purpose of purposes) gauge.set({ purpose }, states.overlaps(purpose))
  })
  return new SignatureKeyring({ keys: signatureKeysOf(secrets), states, log })
}
