/**
 * The services of the mesh and what each needs. The launcher's start and stop order, upstreams, databases and secrets, the variables of
 * relay-migrate, the scrape targets and the certificates in docs/mtls.md follow from this table: a new service is one more row. Pure.
 */

interface Needs {
  /** The services that it calls, each through `<NAME>_ADDR`. They start before it and stop after it. */
  readonly calls: readonly string[]
  /** Roles of its database beside the owner; absent without a database. */
  readonly database?: { readonly roles: readonly string[] }
  readonly redis?: true
  /** It calls providers, or the sandbox in their place. */
  readonly providers?: true
  /** The secrets that it shares or keeps; each is created at the first local start. */
  readonly secrets?: readonly string[]
  /** Its operator programs, in its folder as `<name>.cli.ts`. */
  readonly programs?: readonly string[]
}

export const services = {
  access: {
    calls: [],
    database: { roles: ['service', 'retention'] },
    secrets: ['ACCESS_KEY_PEPPER', 'ACCESS_SIGNING_SECRET', 'AUDIT_HMAC_KEY', 'SIGNATURE_ROOT_SECRET'],
    programs: ['relay-access', 'relay-audit'],
  },
  idempotency: { calls: ['access'], database: { roles: [] } },
  ratelimit: { calls: ['access'], redis: true },
  oauth: { calls: ['access'], database: { roles: [] }, redis: true, providers: true, programs: ['relay-oauth'] },
  actions: {
    calls: ['access', 'idempotency', 'oauth'],
    database: { roles: [] },
    providers: true,
    secrets: ['ACTIONS_SIGNING_SECRET', 'SIGNATURE_ROOT_SECRET'],
  },
} as const satisfies Record<string, Needs>

export type ServiceName = keyof typeof services
export type ProcessName = ServiceName | 'gateway'
type WithDatabase = { [Name in ServiceName]: (typeof services)[Name] extends { database: object } ? Name : never }[ServiceName]
export type OperatorProgram = {
  [Name in ServiceName]: (typeof services)[Name] extends { programs: readonly (infer P)[] } ? P : never
}[ServiceName]

export const serviceNames = Object.keys(services) as readonly ServiceName[]
export const processNames: readonly ProcessName[] = [...serviceNames, 'gateway']

/** In front of the services: it calls all of them, through UPSTREAMS. */
const gateway: Needs = { calls: serviceNames, redis: true, secrets: ['ACTIONS_SIGNING_SECRET', 'SIGNATURE_ROOT_SECRET'] }

type NeedsOf = Omit<Needs, 'calls'> & { readonly calls: readonly ServiceName[] }

export const needsOf = (name: ProcessName): NeedsOf => (name === 'gateway' ? gateway : services[name]) as NeedsOf

export const withDatabase = serviceNames.filter((name): name is WithDatabase => 'database' in services[name])

/** The service that an operator program belongs to. */
export function serviceOf(program: OperatorProgram): ServiceName {
  return serviceNames.find((name) => needsOf(name).programs?.includes(program))!
}

/** The variable that tells a process where a service listens. */
export const addressVariable = (service: ServiceName): string => `${service.toUpperCase()}_ADDR`

/** The processes in groups: each calls only processes of the groups before its own. */
export function startOrder(): ProcessName[][] {
  const groups: ProcessName[][] = []
  const placed = new Set<ProcessName>()
  while (placed.size < processNames.length) {
    const next = processNames.filter((name) => !placed.has(name) && needsOf(name).calls.every((called) => placed.has(called)))
    if (next.length === 0) throw new Error('services call each other in a circle')
    groups.push(next)
    for (const name of next) placed.add(name)
  }
  return groups
}
