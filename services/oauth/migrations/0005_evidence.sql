-- Evidence that this database can be written to, and since when without a gap: nobody takes a refresh over without it. One row; it is there
-- after the first beat.
CREATE TABLE heartbeat (
  only_row     boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  beat_at      timestamptz NOT NULL,
  steady_since timestamptz NOT NULL
);
