-- Admins settle runs whose outcome is unknown. Only keys that have all of an admin's permissions may: one that was narrowed stays as narrow
-- as it was made.
UPDATE api_keys SET permissions = permissions || '{runs:settle}'
WHERE role = 'admin' AND NOT permissions @> '{runs:settle}' AND permissions @> '{actions:read,connections:read,actions:preview,
  actions:execute,connections:write,keys:read,keys:write,keys:admin,audit:read,runs:read_all,metrics:read}';
