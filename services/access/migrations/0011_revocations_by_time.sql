-- relay: no transaction
-- For followers that are new: where the revocations begin that still matter.
DROP INDEX CONCURRENTLY IF EXISTS revocations_by_time;
CREATE INDEX CONCURRENTLY revocations_by_time ON revocations (recorded_at, sequence);
