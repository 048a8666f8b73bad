-- Accounts that people connected, one a provider for each actor of a workspace. Tokens are sealed before they come here.
-- Every change of a row takes the next of these, so that whoever held an earlier one writes nothing.
CREATE SEQUENCE connection_epochs;

CREATE TABLE connections (
  connection_id     uuid PRIMARY KEY,
  workspace         text NOT NULL,
  actor             text NOT NULL,
  provider          text NOT NULL,
  account           text NOT NULL,
  scopes            text[] NOT NULL,
  status            text NOT NULL DEFAULT 'connected' CHECK (status IN ('connected', 'reauth_required')),
  reason            text,
  access_sealed     text NOT NULL,
  access_expires_at timestamptz NOT NULL,
  refresh_sealed    text,
  -- Sealed by the service before this one, which did not say in the token whose it is.
  legacy            boolean NOT NULL DEFAULT false,
  epoch             bigint NOT NULL DEFAULT nextval('connection_epochs'),
  -- Until when whoever took this epoch alone may refresh it.
  lease_until       timestamptz,
  -- Until when the provider is left alone, after this many failures in a row.
  rest_until        timestamptz,
  failures          integer NOT NULL DEFAULT 0,
  connected_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
  refreshed_at      timestamptz,
  UNIQUE (workspace, actor, provider),
  CHECK ((status = 'reauth_required') = (reason IS NOT NULL))
);
