-- What the requests of batches cost so far, whoever works through them.

CREATE TABLE batch_costs (
    workspace BYTEA NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    -- The request that made the batch. Its sums go when its record goes.
    request BYTEA NOT NULL,
    cost_nanos BIGINT NOT NULL,
    provider_cost_nanos BIGINT NOT NULL,
    PRIMARY KEY (workspace, request)
);
CREATE INDEX batch_costs_by_request ON batch_costs (request);
