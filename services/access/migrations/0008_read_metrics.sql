-- Admins read the gateway's metrics, which had been open to anybody. Only keys that have all of an admin's permissions get it: one that was
-- narrowed stays as narrow as it was made.
UPDATE api_keys SET permissions = permissions || '{metrics:read}'
WHERE role = 'admin' AND NOT permissions @> '{metrics:read}' AND permissions @> '{actions:read,connections:read,actions:preview,
  actions:execute,connections:write,keys:read,keys:write,keys:admin,audit:read,runs:read_all}';
