-- Whose account a connection is: the provider's own identifier for it (OpenID Connect Core, 2), not an address, which can change hands.
-- Unknown for those from before, and where a provider does not say; an account that is not known is never the same as another.
ALTER TABLE connections
  ADD COLUMN issuer   text,
  ADD COLUMN subject  text,
  -- Since when the owner has to connect anew: such a connection is forgotten after a while. Null where older code wrote the end.
  ADD COLUMN ended_at timestamptz;
UPDATE connections SET ended_at = clock_timestamp() WHERE status = 'reauth_required';
CREATE INDEX connections_of_account ON connections (provider, issuer, subject) WHERE subject IS NOT NULL;
CREATE INDEX connections_ended ON connections (ended_at) WHERE status = 'reauth_required';

-- Tokens that are of no use here any more, which their provider is to forget; written with what made them so. Sealed for the connection
-- that they were of.
CREATE TABLE revocations (
  revocation_id uuid PRIMARY KEY,
  workspace     text COLLATE "C" NOT NULL,
  connection_id uuid NOT NULL,
  provider      text NOT NULL,
  issuer        text,
  subject       text,
  kind          text NOT NULL CHECK (kind IN ('access', 'refresh')),
  sealed        text NOT NULL,
  legacy        boolean NOT NULL,
  attempts      integer NOT NULL DEFAULT 0,
  due_at        timestamptz NOT NULL,
  created_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX revocations_due ON revocations (due_at);
CREATE INDEX revocations_created ON revocations (created_at);
CREATE INDEX revocations_of_workspace ON revocations (workspace);
