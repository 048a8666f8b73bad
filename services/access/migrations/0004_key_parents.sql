-- The key that made a key: NULL where an operator did, or where it was made before this column. Revoking a key follows it downwards.
ALTER TABLE api_keys ADD COLUMN parent uuid REFERENCES api_keys;

CREATE INDEX api_keys_by_parent ON api_keys (parent) WHERE parent IS NOT NULL;
