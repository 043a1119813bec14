-- What each route has been: the rule as every save left it, numbered from 1, with who saved it and when.

CREATE TABLE route_versions (
    route BYTEA NOT NULL REFERENCES routes (id) ON DELETE CASCADE,
    number BIGINT NOT NULL,
    spec TEXT NOT NULL,
    saved_unix_ms BIGINT NOT NULL,
    -- A key, a person or `system`; NULL for what was saved before there were versions.
    saved_by TEXT,
    PRIMARY KEY (route, number)
);
