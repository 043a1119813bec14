-- The origins of pages that may read answers, with commas between them; empty where the project's, or the gateway's, count.
ALTER TABLE api_keys ADD COLUMN origins TEXT NOT NULL DEFAULT '';
ALTER TABLE projects ADD COLUMN origins TEXT NOT NULL DEFAULT '';
