-- relay: no transaction
-- For removing runs, the oldest first.
DROP INDEX CONCURRENTLY IF EXISTS runs_ended;
CREATE INDEX CONCURRENTLY runs_ended ON runs (ended_at) WHERE ended_at IS NOT NULL;
