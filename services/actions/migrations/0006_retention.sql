-- When the idempotency service was told of an end, where that was long after it; and since when what the run sent and got is gone.
ALTER TABLE runs ADD COLUMN told_at timestamptz, ADD COLUMN details_removed_at timestamptz;
