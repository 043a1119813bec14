-- Whether cached prefixes are read again before they expire; NULL inherits the wider setting.

ALTER TABLE workspaces ADD COLUMN caching_keep_alive BIGINT;
ALTER TABLE projects ADD COLUMN caching_keep_alive BIGINT;
