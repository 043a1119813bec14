-- What nodes cost their owners: the cost that an owner states, and the hours and the energy that a node counts. Nothing here is
-- charged. Hours are counted since 1970.

-- As JSON; NULL if none is stated.
ALTER TABLE nodes ADD COLUMN cost TEXT;
-- The counters of the last heartbeat, and its time.
ALTER TABLE node_credentials ADD COLUMN counters TEXT;

CREATE TABLE node_hours (
    node BLOB NOT NULL,
    hour INTEGER NOT NULL,
    workspace BLOB NOT NULL,
    up_ms INTEGER NOT NULL,
    -- The part of it for which the node counted its busy time, or measured its energy.
    counted_ms INTEGER NOT NULL,
    busy_ms INTEGER NOT NULL,
    measured_ms INTEGER NOT NULL,
    measured_mj INTEGER NOT NULL,
    PRIMARY KEY (node, hour)
) STRICT, WITHOUT ROWID;
CREATE INDEX node_hours_by_workspace ON node_hours (workspace, hour);
