-- relay: no transaction
-- For settling claims whose lease expired, kind by kind.
DROP INDEX CONCURRENTLY IF EXISTS claims_in_flight_by_kind;
CREATE INDEX CONCURRENTLY claims_in_flight_by_kind ON claims (key_kind, lease_until) WHERE lease_until IS NOT NULL;
