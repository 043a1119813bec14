-- Objects are looked up by name wherever an id is taken.
CREATE INDEX IF NOT EXISTS api_keys_by_name ON api_keys (workspace, name);
CREATE INDEX IF NOT EXISTS credentials_by_name ON credentials (workspace, display_name);
CREATE INDEX IF NOT EXISTS budgets_by_name ON budgets (workspace, name);
CREATE INDEX IF NOT EXISTS webhooks_by_description ON webhooks (workspace, description);
CREATE INDEX IF NOT EXISTS accounts_by_name ON accounts (display_name);
CREATE INDEX IF NOT EXISTS workspaces_by_name ON workspaces (name);
