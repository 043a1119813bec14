-- Whether a project's answers are kept and given again to the same request, and for how long. A purge raises the
-- generation, which is part of each answer's name: what was kept before is found by no replica.

ALTER TABLE workspaces ADD COLUMN caching_responses TEXT;
ALTER TABLE workspaces ADD COLUMN caching_responses_ttl_s INTEGER;
ALTER TABLE workspaces ADD COLUMN caching_generation INTEGER NOT NULL DEFAULT 0;
ALTER TABLE projects ADD COLUMN caching_responses TEXT;
ALTER TABLE projects ADD COLUMN caching_responses_ttl_s INTEGER;
ALTER TABLE projects ADD COLUMN caching_generation INTEGER NOT NULL DEFAULT 0;

-- Answers of the response cache are kept beside those under idempotency keys.

ALTER TABLE kept_answers ADD COLUMN is_cached INTEGER NOT NULL DEFAULT 0;
