/** Rows for statement-plans.test.ts: 100,000 in each table that grows, half of them one workspace's. */

/** Tables that may be read whole, and why they stay small whatever is done. */
export const small: ReadonlyMap<string, string> = new Map([
  ['heartbeat', 'one row, by its constraint only_row'],
  ['signing_keys', 'one row per rotation, gone with the last token that it signed; all of them are what is asked for'],
])

const rows = 'FROM generate_series(1, 100000) AS at'
const id = (offset = 0) => `lpad(to_hex(at + ${offset}), 32, '0')::uuid`
const workspace = `CASE WHEN at % 2 = 0 THEN 'acme' ELSE 'w' || at % 500 END`
/** The last day, second by second and over again. */
const past = `now() - (at % 86400) * interval '1 second'`
const auditOutbox = `INSERT INTO audit_outbox (event_id, event, due_at)
  SELECT ${id()}, '{"occurredAt":"2026-11-27T00:00:00.000Z"}', CASE WHEN at % 100 = 0 THEN now() + interval '1 day' ELSE ${past} + interval '12 hours' - interval '12 hours' END ${rows}`

export const fill = {
  actions: [
    `INSERT INTO previews (preview_id, workspace, actor, action, provider, params, summary, warnings, expires_at)
     SELECT ${id(90_000)}, ${workspace}, 'ada', 'ledger.add', 'independent', '{}', '', '{}', now() + (at - 5000) * interval '1 second' ${rows}`,
    `INSERT INTO runs (run_id, preview_id, attempt_id, workspace, actor, action, provider, params, key_kind, key, status, lease_until, request_id,
       trace_id, started_at, ended_at)
     SELECT ${id()}, ${id()}, ${id()}, ${workspace}, 'ada', 'ledger.add', 'independent', '{}', 'client', at::text,
       CASE WHEN at % 1000 = 0 THEN 'unknown' WHEN at % 300 = 0 THEN 'executing' ELSE 'success' END, ${past}, ${id()}, '', ${past},
       CASE WHEN at % 300 = 0 AND at % 1000 <> 0 THEN NULL ELSE ${past} END ${rows}`,
    `INSERT INTO outbox (run_id, workspace, key_kind, key, due_at) SELECT ${id(95_000)}, ${workspace}, 'client', at::text, ${past} ${rows}`,
    auditOutbox,
    `INSERT INTO heartbeat (beat_at, steady_since) VALUES (now() + interval '1 hour', now() - interval '1 day')`,
  ],
  idempotency: [
    `INSERT INTO claims (workspace, key_kind, key, fingerprint, run_id, attempt_id, token, lease_until, completed_at)
     SELECT ${workspace}, CASE WHEN at % 100 = 0 AND at % 10000 <> 0 THEN 'other' ELSE 'client' END, at::text, decode(repeat('00', 32), 'hex'), ${id()}, ${id()}, ${id()},
       CASE WHEN at % 10 = 0 THEN now() + (at % 100 - 5) * interval '1 second' END, CASE WHEN at % 10 <> 0 THEN ${past} END ${rows}`,
  ],
  access: [
    `INSERT INTO api_keys (key_id, hash, workspace, actor, name, role, permissions, preview_only, allowed_sources, created_by, revoked_at)
     SELECT ${id()}, decode(lpad(to_hex(at), 64, '0'), 'hex'), CASE WHEN at % 500 = 0 THEN 'acme' ELSE 'w' || at % 500 END, 'ada' || at % 5000, 'k', 'viewer',
       '{actions:read}', false, '{}', 'ada', CASE WHEN at % 2 = 0 THEN now() END ${rows}`,
    `INSERT INTO revocations (key_id, not_after, recorded_at) SELECT ${id()}, now(), now() - (100001 - at) * interval '1 second' ${rows}`,
    `INSERT INTO audit_events (workspace, sequence, event_id, version, recorded_at, occurred_at, service, action, outcome, reason, actor, key_id, targets,
       request_id, trace_id, source, count, mac)
     SELECT ${workspace}, at, ${id()}, 1, '2026-11-27T00:00:00Z'::timestamptz + (at - 50000) * interval '1 second',
       '2026-11-27T00:00:00Z'::timestamptz + (at - 50000) * interval '1 second' - CASE WHEN at % 1000 = 8 THEN interval '1 day' ELSE interval '0' END, 'access', CASE WHEN at % 1000 = 0 THEN 'keys.create' ELSE 'actions.execute' END,
       CASE WHEN at % 500 = 0 THEN 'failed' ELSE 'success' END, '', CASE WHEN at % 700 = 0 THEN 'ada' ELSE 'eve' END, 'key-' || at % 3000, ARRAY['run:' || at % 999],
       '', '', '', 1, decode(repeat('00', 32), 'hex') ${rows}`,
    `INSERT INTO audit_checkpoints (workspace, sequence, mac, at, seal)
     SELECT ${workspace}, at, decode(repeat('00', 32), 'hex'), now(), decode(repeat('00', 32), 'hex') ${rows}`,
    `INSERT INTO signature_keys (workspace, purpose, generation, sequence) SELECT 'more' || at, 'inbound', 1, at + 10000 ${rows}`,
    auditOutbox,
  ],
  oauth: [
    `INSERT INTO connections (connection_id, workspace, actor, provider, account, scopes, access_sealed, access_expires_at, issuer, subject,
       status, reason, ended_at)
     SELECT ${id()}, ${workspace}, 'ada' || at, 'google', 'a@example.com', '{}', 's', now(), 'https://id.example', at::text,
       CASE WHEN at % 10 = 0 THEN 'reauth_required' ELSE 'connected' END, CASE WHEN at % 10 = 0 THEN 'REVOKED' END, CASE WHEN at % 10 = 0 THEN ${past} END ${rows}`,
    `INSERT INTO revocations (revocation_id, workspace, connection_id, provider, kind, sealed, legacy, due_at, created_at)
     SELECT ${id()}, ${workspace}, ${id()}, 'google', 'access', 's', false, now() + (at - 50) * interval '1 second', ${past} ${rows}`,
    `INSERT INTO connect_steps (kind, workspace, hash, content, expires_at)
     SELECT 'state', ${workspace}, decode(lpad(to_hex(at), 64, '0'), 'hex'), '', now() + (at - 5000) * interval '1 second' ${rows}`,
    auditOutbox,
  ],
} as const

/** A year in milliseconds: how old nothing is. */
const never = '31536000000'

/** Values of parameters by the name of the statement, where the usual ones of their types say nothing; undefined: the usual one. */
export const examples: Readonly<Record<string, readonly (string | undefined)[]>> = {
  'actions.begin': [undefined, undefined, undefined, undefined, 'client'],
  'actions.give-up': [undefined, 'client'],
  'claims expired': ['{client,preview}', '0'],
  'revocations add': [undefined, undefined, undefined, undefined, undefined, undefined, 'refresh', undefined, undefined, '15000', '1000'],
  // Nothing is that old: what is looked for in vain must cost nothing either.
  'actions.delete-previews': [never],
  'actions.remove-run-details': [never],
  'actions.delete-runs': [never],
  'claims reap': [never],
  'revocations expire': [never],
  'connections expire': [never],
  // As a follower asks that is new: most of what there is no longer matters.
  'keys revocations after': ['0', '360000'],
  'signature keys write': [undefined, 'inbound', '7', '6'],
  'signature keys changed after': ['109990'],
  'signing keys add': [undefined, 'x'.repeat(43)],
  'audit chain add checkpoint': ['another'],
  'connect put': ['state', undefined, `\\x${'ff'.repeat(32)}`],
  'keys insert': [undefined, `\\x${'ff'.repeat(32)}`],
}

/** Lists that look for entries with several properties walk along the chain, and read so many at most, whatever they find. */
export const inVain = (name: string): number => (name.startsWith('audit list ') ? 5000 : 50)
