-- Legal holds: what keeps stored content from being deleted. They are not deleted with their workspace.

CREATE TABLE legal_holds (
    id BLOB PRIMARY KEY,
    workspace BLOB NOT NULL,
    -- workspace, project or sessions.
    scope TEXT NOT NULL,
    -- NULL unless the scope is a project.
    project BLOB,
    reason TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_unix_ms INTEGER NOT NULL,
    -- NULL while it is in force.
    released_by TEXT,
    released_unix_ms INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX legal_holds_by_workspace ON legal_holds (workspace, id);

-- What a hold of sessions names: those, their bundles, and the artifacts of these. Artifacts of events follow from the events.
CREATE TABLE legal_hold_objects (
    hold BLOB NOT NULL REFERENCES legal_holds (id) ON DELETE CASCADE,
    object BLOB NOT NULL,
    -- session, bundle or artifact.
    kind TEXT NOT NULL,
    PRIMARY KEY (hold, object)
) STRICT, WITHOUT ROWID;
CREATE INDEX legal_hold_objects_by_object ON legal_hold_objects (object);
