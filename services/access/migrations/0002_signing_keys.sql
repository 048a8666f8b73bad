-- The keys that caller tokens are signed with, shared by all replicas. One signs from `signs_from` until the next one does, and is published
-- until its last token has expired; then its row goes.
CREATE TABLE signing_keys (
  -- The thumbprint of the public half (RFC 7638).
  kid text COLLATE "C" PRIMARY KEY CHECK (kid <> ''),
  -- The public half (RFC 8037): base64url of 32 bytes.
  x text COLLATE "C" NOT NULL CHECK (length(x) = 43),
  -- The private half, encrypted with a secret that this database never sees.
  sealed bytea NOT NULL,
  published_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  signs_from timestamptz NOT NULL,
  CONSTRAINT published_before_it_signs CHECK (signs_from >= published_at)
);
