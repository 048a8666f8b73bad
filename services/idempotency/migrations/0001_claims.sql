-- One row a key. It is in flight while it has a lease, completed once it has a time of completion, and gone when released.
CREATE TABLE claims (
  -- Compared as bytes: no locale's rules, and no re-indexing when those change.
  workspace text COLLATE "C" NOT NULL CHECK (workspace <> ''),
  key_kind text COLLATE "C" NOT NULL CHECK (key_kind <> ''),
  key text COLLATE "C" NOT NULL CHECK (key <> ''),
  fingerprint bytea NOT NULL CHECK (octet_length(fingerprint) BETWEEN 16 AND 64),
  run_id uuid NOT NULL,
  attempt_id uuid NOT NULL,
  token uuid NOT NULL,
  taken_over boolean NOT NULL DEFAULT false,
  -- Grows with every change: what was read is written back only where nobody else wrote meanwhile.
  version integer NOT NULL DEFAULT 1,
  lease_until timestamptz,
  completed_at timestamptz,
  response bytea,
  PRIMARY KEY (workspace, key_kind, key),
  CONSTRAINT in_flight_or_completed CHECK ((lease_until IS NULL) <> (completed_at IS NULL)),
  CONSTRAINT response_once_completed CHECK (response IS NULL OR completed_at IS NOT NULL)
)
-- Each row is written, completed within seconds and removed a day later: room on the page for the second write, and vacuum that keeps up
-- with a table that turns over daily.
WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);

-- For the reaper: what was completed first.
CREATE INDEX claims_completed ON claims (completed_at) WHERE completed_at IS NOT NULL;

-- For the gauge of leases that ran out; holds only what is in flight.
CREATE INDEX claims_in_flight ON claims (lease_until) WHERE lease_until IS NOT NULL;
