/**
 * The minimum rights of the service's role on its tables. The tables belong to the role that migrates. Even an attacker with the service's
 * role cannot undo a revocation or change an entry of the audit log.
 */

/** The part of a database that this needs; each is connected as one role. */
interface Queries {
  query<Row extends object>(statement: { name: string; text: string }, values?: readonly unknown[]): Promise<Row[]>
}
interface Owner extends Queries {
  transaction<T>(work: (queries: Queries) => Promise<T>): Promise<T>
}

export interface Roles {
  /** The role that migrates and owns the tables. */
  owner: Owner
  /** The role of the service. */
  service: Queries
  /** The role of retention, if configured. */
  retention?: Queries | undefined
}

/** Rights by table. No role has any other right. */
type Rights = Readonly<Record<string, string>>

const serviceRights: Rights = {
  api_keys: 'SELECT, INSERT, UPDATE',
  revocations: 'SELECT, INSERT',
  signing_keys: 'SELECT, INSERT, DELETE',
  signature_keys: 'SELECT, INSERT, UPDATE',
  audit_outbox: 'SELECT, INSERT, UPDATE, DELETE',
  audit_events: 'SELECT, INSERT',
  // Only the retention role records that and where the log was shortened.
  audit_checkpoints: 'SELECT',
}

const retentionRights: Rights = {
  audit_events: 'SELECT, DELETE',
  audit_checkpoints: 'SELECT, INSERT',
}

/**
 * Call this after the migrations, from any replica, any number of times: at every moment the roles have either their previous rights or
 * these. Returns 'restricted' if the service's role has only these rights, or 'unrestricted' if it is the owner, can become the owner, or
 * is a superuser. Throws if two roles that must differ are the same.
 */
export async function grantRights({ owner, service, retention }: Roles): Promise<'restricted' | 'unrestricted'> {
  const { name: ownerName } = await whoIs(owner)
  const runs = await whoIs(service, ownerName)
  const cuts = retention && (await whoIs(retention, ownerName))
  if (cuts?.name === runs.name) throw new Error('The role of AUDIT_RETENTION_DATABASE_URL must not be the role of DATABASE_URL')
  await owner.transaction(async (queries) => {
    // Two processes that change the rights of one table at once would fail.
    await run(queries, `SELECT pg_advisory_xact_lock(hashtextextended('relay access grants', 0))`)
    await run(queries, 'REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC')
    if (runs.name !== ownerName) {
      await grant(queries, runs.name, serviceRights)
      // The function deletes nothing that still blocks a key (migrations/0007_key_retention.sql).
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

/** Not prepared, because each runs once. */
const run = (queries: Queries, text: string) => queries.query({ name: '', text })
