-- relay: no transaction
-- For lists by time: events that were told long after they occurred, or by a clock that was wrong (audit/store.list.postgres.ts).
DROP INDEX CONCURRENTLY IF EXISTS audit_events_displaced;
CREATE INDEX CONCURRENTLY audit_events_displaced ON audit_events (workspace, sequence)
  WHERE CASE WHEN isfinite(recorded_at) AND isfinite(occurred_at)
    THEN recorded_at - occurred_at NOT BETWEEN interval '-10 minutes' AND interval '10 minutes' ELSE true END;
