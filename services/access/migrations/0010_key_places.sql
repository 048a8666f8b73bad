-- Where a key stands below the key that it descends from, so that whether one key descends from another is told in steps that grow with the
-- logarithm of the generations between them, however many keys between and beside them have ended: `depth` generations down, and `jump`, an
-- ancestor `jump_depth` generations down. A key whose parent's jump is as long as the jump after it jumps over both; any other jumps to its
-- parent (skew-binary jump pointers). A key outlives what descends from it in this table, so that no jump leads nowhere.
ALTER TABLE api_keys
  ADD COLUMN depth integer NOT NULL DEFAULT 0,
  -- NULL where it has no parent.
  ADD COLUMN jump uuid,
  ADD COLUMN jump_depth integer NOT NULL DEFAULT 0;

CREATE FUNCTION place_key() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  SELECT made_by.depth + 1,
    CASE WHEN made_by.depth - made_by.jump_depth = made_by.jump_depth - jumped.jump_depth
      THEN coalesce(jumped.jump, jumped.key_id) ELSE made_by.key_id END,
    CASE WHEN made_by.depth - made_by.jump_depth = made_by.jump_depth - jumped.jump_depth
      THEN jumped.jump_depth ELSE made_by.depth END
  INTO NEW.depth, NEW.jump, NEW.jump_depth
  FROM api_keys AS made_by JOIN api_keys AS jumped ON jumped.key_id = coalesce(made_by.jump, made_by.key_id)
  WHERE made_by.key_id = NEW.parent;
  IF NOT FOUND THEN
    -- The foreign key refuses it.
    NEW.depth := 0;
    NEW.jump_depth := 0;
  END IF;
  RETURN NEW;
END $$;

-- Also for the release before, which says nothing of it.
CREATE TRIGGER place_key BEFORE INSERT ON api_keys FOR EACH ROW WHEN (NEW.parent IS NOT NULL) EXECUTE FUNCTION place_key();

-- The keys that are there already, generation by generation.
DO $$
DECLARE
  makers uuid[];
BEGIN
  SELECT array_agg(key_id) INTO makers FROM api_keys AS top
  WHERE parent IS NULL AND EXISTS (SELECT 1 FROM api_keys AS child WHERE child.parent = top.key_id);
  -- Row by row through the indexes, whatever is known of a table that is being rewritten.
  SET LOCAL enable_hashjoin = off;
  SET LOCAL enable_mergejoin = off;
  SET LOCAL enable_seqscan = off;
  WHILE makers IS NOT NULL LOOP
    WITH placed AS (
      UPDATE api_keys AS child SET depth = made_by.depth + 1,
        jump = CASE WHEN made_by.depth - made_by.jump_depth = made_by.jump_depth - jumped.jump_depth
          THEN coalesce(jumped.jump, jumped.key_id) ELSE made_by.key_id END,
        jump_depth = CASE WHEN made_by.depth - made_by.jump_depth = made_by.jump_depth - jumped.jump_depth
          THEN jumped.jump_depth ELSE made_by.depth END
      FROM unnest(makers) AS maker (key_id) JOIN api_keys AS made_by USING (key_id)
        JOIN api_keys AS jumped ON jumped.key_id = coalesce(made_by.jump, made_by.key_id)
      WHERE child.parent = made_by.key_id
      RETURNING child.key_id)
    SELECT array_agg(key_id) INTO makers FROM placed;
  END LOOP;
  SET LOCAL enable_hashjoin = on;
  SET LOCAL enable_mergejoin = on;
  SET LOCAL enable_seqscan = on;
END $$;

-- For counting and finding the living: those that expired are passed over like those that were revoked.
CREATE INDEX api_keys_living_until ON api_keys (workspace, coalesce(expires_at, 'infinity')) WHERE revoked_at IS NULL;
DROP INDEX api_keys_living;
