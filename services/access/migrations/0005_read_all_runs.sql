-- Admins read the details of all actors' runs, as they could before that had a permission of its own. Only keys that have all of an admin's
-- permissions get it: one that was narrowed stays as narrow as it was made.
UPDATE api_keys SET permissions = permissions || '{runs:read_all}'
WHERE role = 'admin' AND NOT permissions @> '{runs:read_all}' AND permissions @> '{actions:read,connections:read,actions:preview,
  actions:execute,connections:write,keys:read,keys:write,keys:admin,audit:read}';
