/**
 * What the service's own role may do with its tables: the least that it needs. Tables belong to the role that migrates; the one that the
 * service runs as cannot take back a revocation or change a line of the audit log, whoever gets hold of it.
 */

/** The part of a database that this needs; each is connected as one role. */
interface Queries {
  query<Row extends object>(statement: { name: string; text: string }, values?: readonly unknown[]): Promise<Row[]>
}
interface Owner extends Queries {
  transaction<T>(work: (queries: Queries) => Promise<T>): Promise<T>
}

export interface Roles {
  /** As whoever migrated. */
  owner: Owner
  /** As the service runs. */
  service: Queries
  /** As whoever shortens the audit log, where that is done. */
  retention?: Queries | undefined
}

/** Rights by table. What is not here, nobody has. */
type Rights = Readonly<Record<string, string>>

const serviceRights: Rights = {
  api_keys: 'SELECT, INSERT, UPDATE',
  revocations: 'SELECT, INSERT',
  signing_keys: 'SELECT, INSERT, DELETE',
  signature_keys: 'SELECT, INSERT, UPDATE',
  audit_outbox: 'SELECT, INSERT, UPDATE, DELETE',
  audit_events: 'SELECT, INSERT',
  // Where the log was cut, and that it was, is for the role that cuts to say.
  audit_checkpoints: 'SELECT',
}

const retentionRights: Rights = {
  audit_events: 'SELECT, DELETE',
  audit_checkpoints: 'SELECT, INSERT',
}

/**
 * To be called when the migrations have run, by any replica, any number of times: at every moment the roles have what they had or what is
 * here. Says how the service stands: 'restricted' to its rights, or 'unrestricted', since its role is that of the owner, may become it, or
 * is a superuser. Throws where two of the roles that must differ are one.
 */
export async function grantRights({ owner, service, retention }: Roles): Promise<'restricted' | 'unrestricted'> {
  const { name: ownerName } = await whoIs(owner)
  const runs = await whoIs(service, ownerName)
  const cuts = retention && (await whoIs(retention, ownerName))
  if (cuts?.name === runs.name) throw new Error('The role that shortens the audit log must not be the one that the service runs as')
  await owner.transaction(async (queries) => {
    // Two who change the rights of one table at once would fail.
    await run(queries, `SELECT pg_advisory_xact_lock(hashtextextended('relay access grants', 0))`)
    await run(queries, 'REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC')
    if (runs.name !== ownerName) {
      await grant(queries, runs.name, serviceRights)
      // It deletes nothing that still says no to anybody (migrations/0007_key_retention.sql).
      await run(queries, `GRANT EXECUTE ON FUNCTION prune_keys TO ${quoted(runs.name)}`)
    }
    if (cuts !== undefined && cuts.name !== ownerName) await grant(queries, cuts.name, retentionRights)
  })
  return runs.name === ownerName || runs.mighty ? 'unrestricted' : 'restricted'
}

async function grant(queries: Queries, role: string, rights: Rights): Promise<void> {
  const to = quoted(role)
  await run(queries, `REVOKE ALL ON ALL TABLES IN SCHEMA public FROM ${to}`)
  await run(queries, `REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM ${to}`)
  await run(queries, `GRANT USAGE ON SCHEMA public TO ${to}`)
  for (const [table, what] of Object.entries(rights)) await run(queries, `GRANT ${what} ON ${table} TO ${to}`)
}

const quoted = (role: string): string => `"${role.replaceAll('"', '""')}"`

async function whoIs(queries: Queries, owner?: string): Promise<{ name: string; mighty: boolean }> {
  const text = `SELECT rolname::text AS name,
      rolsuper OR rolcreaterole OR coalesce(pg_has_role(rolname, $1::name, 'MEMBER'), false) AS mighty
    FROM pg_roles WHERE rolname = current_user`
  const [row] = await queries.query<{ name: string; mighty: boolean }>({ name: 'grants who is', text }, [owner ?? null])
  return row!
}

/** Not prepared: each is run once. */
const run = (queries: Queries, text: string) => queries.query({ name: '', text })
