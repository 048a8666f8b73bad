-- relay: no transaction
-- For removing what is in them.
DROP INDEX CONCURRENTLY IF EXISTS runs_with_details;
CREATE INDEX CONCURRENTLY runs_with_details ON runs (ended_at) WHERE ended_at IS NOT NULL AND details_removed_at IS NULL;
