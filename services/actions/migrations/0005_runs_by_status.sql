-- relay: no transaction
-- For lists of runs by status.
DROP INDEX CONCURRENTLY IF EXISTS runs_by_status;
CREATE INDEX CONCURRENTLY runs_by_status ON runs (workspace, status, started_at DESC, run_id DESC);
