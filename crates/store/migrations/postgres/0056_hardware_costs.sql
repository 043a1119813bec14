-- What nodes cost their owners: the cost that an owner states, and the hours and the energy that a node counts. Nothing here is
-- charged. Hours are counted since 1970.

-- As JSON; NULL if none is stated.
ALTER TABLE nodes ADD COLUMN cost TEXT;
-- The counters of the last heartbeat, and its time.
ALTER TABLE node_credentials ADD COLUMN counters TEXT;

CREATE TABLE node_hours (
    node BYTEA NOT NULL,
    hour BIGINT NOT NULL,
    workspace BYTEA NOT NULL,
    up_ms BIGINT NOT NULL,
    -- The part of it for which the node counted its busy time, or measured its energy.
    counted_ms BIGINT NOT NULL,
    busy_ms BIGINT NOT NULL,
    measured_ms BIGINT NOT NULL,
    measured_mj BIGINT NOT NULL,
    PRIMARY KEY (node, hour)
);
CREATE INDEX node_hours_by_workspace ON node_hours (workspace, hour);
