-- One row an event, in a chain a workspace. The service's role may read and add, and nothing else: see grants.ts. Every column is covered
-- by the MAC of its row, and that by the MAC of the next.
CREATE TABLE audit_events (
  -- Compared as bytes: no locale's rules, and no re-indexing when those change. Empty where it is not known whose event it is.
  workspace text COLLATE "C" NOT NULL,
  -- From 1, without gaps; as far as the contract's uint32 goes.
  sequence bigint NOT NULL CHECK (sequence BETWEEN 1 AND 4294967295),
  event_id uuid NOT NULL,
  -- Of what the MAC covers and how it is written down (audit/chain.ts).
  version smallint NOT NULL,
  -- To the millisecond, as they are told and covered.
  recorded_at timestamptz(3) NOT NULL,
  occurred_at timestamptz(3) NOT NULL,
  service text COLLATE "C" NOT NULL,
  action text COLLATE "C" NOT NULL,
  outcome text COLLATE "C" NOT NULL,
  reason text COLLATE "C" NOT NULL,
  actor text COLLATE "C" NOT NULL,
  key_id text COLLATE "C" NOT NULL,
  targets text[] COLLATE "C" NOT NULL,
  request_id text COLLATE "C" NOT NULL,
  trace_id text COLLATE "C" NOT NULL,
  source text COLLATE "C" NOT NULL,
  count bigint NOT NULL CHECK (count BETWEEN 1 AND 4294967295),
  mac bytea NOT NULL CHECK (octet_length(mac) = 32),
  PRIMARY KEY (workspace, sequence),
  CONSTRAINT audit_events_taken_once UNIQUE (event_id)
)
-- Rows are only added: vacuum has nothing to remove, but the map of what all can see must keep up for scans of the indexes.
WITH (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);

-- For the filters of a list, newest first.
CREATE INDEX audit_events_by_action ON audit_events (workspace, action, sequence);
CREATE INDEX audit_events_by_outcome ON audit_events (workspace, outcome, sequence);
CREATE INDEX audit_events_by_actor ON audit_events (workspace, actor, sequence);
CREATE INDEX audit_events_by_key ON audit_events (workspace, key_id, sequence);
CREATE INDEX audit_events_by_time ON audit_events (workspace, occurred_at);
-- Without the pending list: whoever adds a row pays for it, and nobody else for a heap of them.
CREATE INDEX audit_events_by_target ON audit_events USING gin (targets) WITH (fastupdate = off);

-- Where retention cut a chain: everything up to the sequence is gone, and the next entry follows this MAC. Signed, and never removed.
CREATE TABLE audit_checkpoints (
  workspace text COLLATE "C" NOT NULL,
  sequence bigint NOT NULL CHECK (sequence BETWEEN 1 AND 4294967295),
  -- Of the entry with this sequence.
  mac bytea NOT NULL CHECK (octet_length(mac) = 32),
  at timestamptz(3) NOT NULL,
  seal bytea NOT NULL CHECK (octet_length(seal) = 32),
  PRIMARY KEY (workspace, sequence)
);
