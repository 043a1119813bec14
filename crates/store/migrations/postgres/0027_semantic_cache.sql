-- Whether a project's answers are also given to requests that mean the same, by which model's embeddings texts are
-- compared, and how alike they must be. `caching_responses` is `exact` then, for replicas that know nothing of this.

ALTER TABLE workspaces ADD COLUMN caching_is_semantic BIGINT NOT NULL DEFAULT 0;
ALTER TABLE workspaces ADD COLUMN caching_semantic_model TEXT;
ALTER TABLE workspaces ADD COLUMN caching_semantic_bps_min BIGINT;
ALTER TABLE projects ADD COLUMN caching_is_semantic BIGINT NOT NULL DEFAULT 0;
ALTER TABLE projects ADD COLUMN caching_semantic_model TEXT;
ALTER TABLE projects ADD COLUMN caching_semantic_bps_min BIGINT;
