-- What each API key may do. The key itself is nowhere: it is found by its keyed hash.
CREATE TABLE api_keys (
  key_id uuid PRIMARY KEY,
  hash bytea NOT NULL UNIQUE CHECK (octet_length(hash) = 32),
  -- Compared as bytes: no locale's rules, and no re-indexing when those change.
  workspace text COLLATE "C" NOT NULL CHECK (workspace <> ''),
  actor text COLLATE "C" NOT NULL CHECK (actor <> ''),
  name text NOT NULL CHECK (name <> ''),
  role text NOT NULL,
  permissions text[] NOT NULL CHECK (cardinality(permissions) > 0),
  preview_only boolean NOT NULL,
  allowed_sources text[] NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  created_by text NOT NULL,
  -- The length of life that it was made with: a successor gets the same, whatever became of this key's end meanwhile.
  life_ms float8 CHECK (life_ms > 0),
  expires_at timestamptz,
  revoked_at timestamptz,
  last_used_at timestamptz,
  replaces uuid REFERENCES api_keys,
  CONSTRAINT an_end_where_life_is_limited CHECK (life_ms IS NULL OR expires_at IS NOT NULL)
)
-- Its use is noted every some seconds: room on the page for that.
WITH (fillfactor = 80);

-- For lists, newest first: of a workspace, and of one actor in it.
CREATE INDEX api_keys_listed ON api_keys (workspace, created_at, key_id);
CREATE INDEX api_keys_listed_by_actor ON api_keys (workspace, actor, created_at, key_id);

-- For counting the living.
CREATE INDEX api_keys_living ON api_keys (workspace) WHERE revoked_at IS NULL;

-- From not_after on, no token of the key is believed. Numbers are taken under a lock that is held until the row is there for everybody, so
-- that whoever has seen a number has seen all before it.
CREATE TABLE revocations (
  sequence integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  key_id uuid NOT NULL REFERENCES api_keys,
  not_after timestamptz NOT NULL,
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- What the audit log has yet to be told of this service's own acts: written with the act, removed once told.
CREATE TABLE audit_outbox (
  event_id uuid PRIMARY KEY,
  -- JSON of an AuditEvent.
  event text NOT NULL,
  attempts integer NOT NULL DEFAULT 0,
  due_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX audit_outbox_due ON audit_outbox (due_at);
