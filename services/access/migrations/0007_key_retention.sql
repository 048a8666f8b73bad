-- Ended keys and old revocations go after a while. The role of the service may delete neither: it may run this, which deletes nothing that
-- still says no to anybody. A key goes after the keys that it made, so that revoking a key always finds what descends from it.
ALTER TABLE api_keys DROP CONSTRAINT api_keys_replaces_fkey;

CREATE INDEX api_keys_ended ON api_keys (least(revoked_at, expires_at));
CREATE INDEX revocations_by_key ON revocations (key_id);

CREATE FUNCTION prune_keys(kept interval, most integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
  -- Tokens live for minutes: a day is more than any revocation has to be told of.
  before constant timestamptz := clock_timestamp() - greatest(kept, interval '1 day');
  removed integer;
  more integer;
BEGIN
  -- The latest stays, since followers count from it.
  DELETE FROM revocations WHERE sequence IN (
    SELECT sequence FROM revocations
    WHERE greatest(recorded_at, not_after) < before AND sequence < (SELECT max(sequence) FROM revocations)
    ORDER BY sequence LIMIT most);
  GET DIAGNOSTICS removed = ROW_COUNT;
  DELETE FROM api_keys WHERE key_id IN (
    SELECT key_id FROM api_keys AS ended
    WHERE least(revoked_at, expires_at) < before
      AND NOT EXISTS (SELECT 1 FROM api_keys AS child WHERE child.parent = ended.key_id)
      AND NOT EXISTS (SELECT 1 FROM revocations WHERE revocations.key_id = ended.key_id)
    ORDER BY least(revoked_at, expires_at) LIMIT most FOR UPDATE SKIP LOCKED);
  GET DIAGNOSTICS more = ROW_COUNT;
  RETURN removed + more;
END $$;

REVOKE ALL ON FUNCTION prune_keys(interval, integer) FROM PUBLIC;
