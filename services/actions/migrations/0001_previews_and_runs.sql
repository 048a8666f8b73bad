-- What was shown, and what was done about it.

-- The preview is the contract: `params` are the canonical bytes (RFC 8785) that were shown and that will run.
CREATE TABLE previews (
  preview_id    uuid PRIMARY KEY,
  workspace     text NOT NULL,
  actor         text NOT NULL,
  action        text NOT NULL,
  provider      text NOT NULL,
  params        bytea NOT NULL,
  summary       text NOT NULL,
  warnings      text[] NOT NULL,
  connection_id text,
  created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
  expires_at    timestamptz NOT NULL,
  consumed_at   timestamptz
);
CREATE INDEX previews_expiry ON previews (expires_at);

-- The run row is the truth: it stands before anything is done (write-ahead), and only who inserted it, or took it over by raising its
-- epoch, may act on it or write its end. Unique preview_id: one preview runs at most once.
CREATE TABLE runs (
  run_id        uuid PRIMARY KEY,
  preview_id    uuid NOT NULL UNIQUE,
  attempt_id    uuid NOT NULL,
  workspace     text NOT NULL,
  actor         text NOT NULL,
  action        text NOT NULL,
  provider      text NOT NULL,
  params        bytea NOT NULL,
  connection_id text,
  key_kind      text NOT NULL CHECK (key_kind IN ('client', 'preview')),
  key           text NOT NULL,
  status        text NOT NULL DEFAULT 'executing' CHECK (status IN ('executing', 'success', 'failed', 'unknown')),
  epoch         integer NOT NULL DEFAULT 1,
  lease_until   timestamptz NOT NULL,
  -- JSON, as text: jsonb would refuse some strings that receivers send and reorder the rest.
  recovery      text,
  result        text,
  error_reason  text,
  error         text,
  request_id    uuid NOT NULL,
  trace_id      text NOT NULL,
  started_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
  ended_at      timestamptz,
  CHECK ((status = 'executing') = (ended_at IS NULL))
);
CREATE INDEX runs_under_way ON runs (lease_until) WHERE status = 'executing';
CREATE INDEX runs_of_workspace ON runs (workspace, started_at DESC, run_id DESC);

-- What is still to be told to the idempotency service; written in the transaction that ends a run.
CREATE TABLE outbox (
  run_id    uuid PRIMARY KEY,
  workspace text NOT NULL,
  key_kind  text NOT NULL,
  key       text NOT NULL,
  attempts  integer NOT NULL DEFAULT 0,
  due_at    timestamptz NOT NULL
);
CREATE INDEX outbox_due ON outbox (due_at);
