-- The span that a run began in: with trace_id, what the trace of its reconciliation is linked to. Empty in runs from before, and in those
-- that older code begins.
ALTER TABLE runs ADD COLUMN span_id text NOT NULL DEFAULT '';
