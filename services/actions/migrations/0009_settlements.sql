-- What a person found out about a run that had ended as unknown: all four, or none.
ALTER TABLE runs
  ADD COLUMN settled_verdict text,
  ADD COLUMN settled_reason  text,
  ADD COLUMN settled_by      text,
  ADD COLUMN settled_at      timestamptz;
