-- What the operator states of providers in place of the built-in capability manifest, and every revision of the manifest
-- that was ever served. A revision never changes.

CREATE TABLE capability_statements (
    provider TEXT NOT NULL PRIMARY KEY,
    facts TEXT NOT NULL,
    -- The day that the revision is named by: as 2026-11-24.
    day TEXT NOT NULL,
    stated_unix_ms INTEGER NOT NULL,
    stated_by TEXT NOT NULL,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE capability_revisions (
    -- Empty for the manifest of all providers, whose content is which revision each of them had.
    provider TEXT NOT NULL,
    revision TEXT NOT NULL,
    content TEXT NOT NULL,
    -- What the operator stated; NULL if nothing.
    facts TEXT,
    day TEXT NOT NULL,
    served_unix_ms INTEGER NOT NULL,
    -- A key, a person, or `system` for what a version of the program brought.
    served_by TEXT NOT NULL,
    PRIMARY KEY (provider, revision)
) STRICT, WITHOUT ROWID;
