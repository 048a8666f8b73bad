-- Evidence that this database can be written to, and since when without a gap: nobody takes a run over without it. One row; it is there
-- after the first beat.
CREATE TABLE heartbeat (
  only_row     boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  beat_at      timestamptz NOT NULL,
  steady_since timestamptz NOT NULL
);

ALTER TABLE runs
  -- When the recovery point was recorded: replicas' own clocks may differ. Null where none was, and in runs of older code.
  ADD COLUMN recorded_at timestamptz,
  -- Whether who ended the run may have acted in it: what an earlier holder knows of its own attempt says nothing of that one. Null in runs
  -- under way, and where older code wrote the end.
  ADD COLUMN acted boolean;
