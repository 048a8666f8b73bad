-- Which signature keys count, by workspace and purpose; never the keys, which are derived from a secret that this database does not see. Of a
-- workspace without a row generation 1 alone counts. Numbers are taken under a lock that is held until the row is there for everybody, so
-- that whoever has seen a number has seen all before it.
CREATE TABLE signature_keys (
  -- Compared as bytes: no locale's rules, and no re-indexing when those change.
  workspace text COLLATE "C" NOT NULL CHECK (workspace <> ''),
  purpose text COLLATE "C" NOT NULL CHECK (purpose IN ('outbound', 'inbound')),
  generation integer NOT NULL CHECK (generation > 0),
  -- During an overlap: counts too. 0 is the key from before there were generations.
  previous integer CHECK (previous >= 0 AND previous < generation),
  sequence integer NOT NULL UNIQUE,
  changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (workspace, purpose)
);

-- Receivers of the workspaces that there are have the key from before, and so have those of `default` in an installation that is moved here.
INSERT INTO signature_keys (workspace, purpose, generation, previous, sequence)
SELECT workspace, purpose, 1, 0, row_number() OVER (ORDER BY workspace, purpose)
FROM (SELECT 'default' COLLATE "C" AS workspace UNION SELECT workspace FROM api_keys) AS existing
CROSS JOIN (VALUES ('outbound'), ('inbound')) AS purposes (purpose);
