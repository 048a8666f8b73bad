-- Steps of people who are connecting an account, where there is no Redis: tickets and states, each to be taken once within minutes.
-- Neither can be made from what stands here: rows are found by a hash, and what is secret in them is sealed.
CREATE TABLE connect_steps (
  kind text NOT NULL CHECK (kind IN ('ticket', 'state')),
  -- Compared as bytes: no locale's rules, and no re-indexing when those change.
  workspace text COLLATE "C" NOT NULL CHECK (workspace <> ''),
  hash bytea NOT NULL CHECK (octet_length(hash) = 32),
  content text NOT NULL,
  expires_at timestamptz NOT NULL,
  PRIMARY KEY (kind, workspace, hash)
);

-- For removing those that nobody took.
CREATE INDEX connect_steps_expired ON connect_steps (expires_at);
