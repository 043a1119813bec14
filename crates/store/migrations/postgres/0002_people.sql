-- Who signs in, where they may, and what shows that they did. Of tokens and codes only the keyed hash is kept.

CREATE TABLE people (
    id BYTEA PRIMARY KEY,
    -- In lower case.
    email TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    password_hash TEXT,
    created_unix_ms BIGINT NOT NULL,
    version BIGINT NOT NULL
);

CREATE TABLE memberships (
    workspace BYTEA NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    person BYTEA NOT NULL REFERENCES people (id) ON DELETE CASCADE,
    role TEXT NOT NULL,
    -- An invitation counts for nothing before it is accepted.
    accepted_unix_ms BIGINT,
    created_unix_ms BIGINT NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (workspace, person)
);
CREATE INDEX memberships_by_person ON memberships (person);

CREATE TABLE sign_ins (
    digest BYTEA PRIMARY KEY,
    person BYTEA NOT NULL REFERENCES people (id) ON DELETE CASCADE,
    by_link BIGINT NOT NULL,
    address TEXT NOT NULL,
    agent TEXT NOT NULL,
    created_unix_ms BIGINT NOT NULL,
    used_unix_ms BIGINT NOT NULL,
    expires_unix_ms BIGINT NOT NULL
);
CREATE INDEX sign_ins_by_person ON sign_ins (person);

CREATE TABLE sign_in_links (
    digest BYTEA PRIMARY KEY,
    person BYTEA NOT NULL REFERENCES people (id) ON DELETE CASCADE,
    -- The workspace that made it; none where the installation did.
    workspace BYTEA REFERENCES workspaces (id) ON DELETE CASCADE,
    expires_unix_ms BIGINT NOT NULL
);
CREATE INDEX sign_in_links_by_person ON sign_in_links (person);

CREATE TABLE devices (
    digest BYTEA PRIMARY KEY,
    user_code BYTEA NOT NULL UNIQUE,
    client_name TEXT NOT NULL,
    address TEXT NOT NULL,
    denied BIGINT NOT NULL,
    -- Both are there once a person has said yes.
    person BYTEA REFERENCES people (id) ON DELETE CASCADE,
    workspace BYTEA REFERENCES workspaces (id) ON DELETE CASCADE,
    polled_unix_ms BIGINT,
    created_unix_ms BIGINT NOT NULL,
    expires_unix_ms BIGINT NOT NULL
);

-- Keys that devices were given: they end with their person's membership.
CREATE TABLE device_keys (
    id BYTEA PRIMARY KEY REFERENCES api_keys (id) ON DELETE CASCADE,
    workspace BYTEA NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    person BYTEA NOT NULL REFERENCES people (id) ON DELETE CASCADE
);
CREATE INDEX device_keys_by_person ON device_keys (person, workspace);
