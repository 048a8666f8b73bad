-- relay: no transaction
-- For finding connections of which older code did not say when they ended: ordinarily none.
DROP INDEX CONCURRENTLY IF EXISTS connections_without_an_end;
CREATE INDEX CONCURRENTLY connections_without_an_end ON connections (connection_id) WHERE status = 'reauth_required' AND ended_at IS NULL;
