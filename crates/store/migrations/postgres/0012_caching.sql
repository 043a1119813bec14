-- What the gateway may do for the prompt caches of providers: off, suggest or apply. What is null is left to the wider one.
ALTER TABLE workspaces ADD COLUMN caching_managed TEXT;
ALTER TABLE workspaces ADD COLUMN caching_byok TEXT;
ALTER TABLE projects ADD COLUMN caching_managed TEXT;
ALTER TABLE projects ADD COLUMN caching_byok TEXT;
