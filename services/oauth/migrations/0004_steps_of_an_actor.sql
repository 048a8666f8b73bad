-- Whose steps these are: one actor has a limited number. Those of the release before say nothing, and are gone within minutes.
ALTER TABLE connect_steps ADD COLUMN actor text COLLATE "C";
CREATE INDEX connect_steps_of_actor ON connect_steps (workspace, actor, expires_at);
