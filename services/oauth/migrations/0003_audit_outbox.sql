-- What the audit log is to be told; written in the transaction of the act itself, and sent to access by a relay.
CREATE TABLE audit_outbox (
  event_id uuid PRIMARY KEY,
  event    text NOT NULL,
  attempts integer NOT NULL DEFAULT 0,
  due_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX audit_outbox_due ON audit_outbox (due_at);
