-- Who signs in, where they may, and what shows that they did. Of tokens and codes only the keyed hash is kept.

CREATE TABLE people (
    id BLOB PRIMARY KEY,
    -- In lower case.
    email TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    password_hash TEXT,
    created_unix_ms INTEGER NOT NULL,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE memberships (
    workspace BLOB NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    person BLOB NOT NULL REFERENCES people (id) ON DELETE CASCADE,
    role TEXT NOT NULL,
    -- An invitation counts for nothing before it is accepted.
    accepted_unix_ms INTEGER,
    created_unix_ms INTEGER NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (workspace, person)
) STRICT, WITHOUT ROWID;
CREATE INDEX memberships_by_person ON memberships (person);

CREATE TABLE sign_ins (
    digest BLOB PRIMARY KEY,
    person BLOB NOT NULL REFERENCES people (id) ON DELETE CASCADE,
    by_link INTEGER NOT NULL,
    address TEXT NOT NULL,
    agent TEXT NOT NULL,
    created_unix_ms INTEGER NOT NULL,
    used_unix_ms INTEGER NOT NULL,
    expires_unix_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sign_ins_by_person ON sign_ins (person);

CREATE TABLE sign_in_links (
    digest BLOB PRIMARY KEY,
    person BLOB NOT NULL REFERENCES people (id) ON DELETE CASCADE,
    -- The workspace that made it; none where the installation did.
    workspace BLOB REFERENCES workspaces (id) ON DELETE CASCADE,
    expires_unix_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sign_in_links_by_person ON sign_in_links (person);

CREATE TABLE devices (
    digest BLOB PRIMARY KEY,
    user_code BLOB NOT NULL UNIQUE,
    client_name TEXT NOT NULL,
    address TEXT NOT NULL,
    denied INTEGER NOT NULL,
    -- Both are there once a person has said yes.
    person BLOB REFERENCES people (id) ON DELETE CASCADE,
    workspace BLOB REFERENCES workspaces (id) ON DELETE CASCADE,
    polled_unix_ms INTEGER,
    created_unix_ms INTEGER NOT NULL,
    expires_unix_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Keys that devices were given: they end with their person's membership.
CREATE TABLE device_keys (
    id BLOB PRIMARY KEY REFERENCES api_keys (id) ON DELETE CASCADE,
    workspace BLOB NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    person BLOB NOT NULL REFERENCES people (id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX device_keys_by_person ON device_keys (person, workspace);
