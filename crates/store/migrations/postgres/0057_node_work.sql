-- What nodes served: sums of node_records, by the hour since 1970 in which a request began.
CREATE TABLE node_work (
    workspace BYTEA NOT NULL,
    hour BIGINT NOT NULL,
    node BYTEA NOT NULL,
    model TEXT NOT NULL,
    -- Empty if there was none.
    adapter TEXT NOT NULL,
    requests BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    took_ms BIGINT NOT NULL,
    PRIMARY KEY (workspace, hour, node, model, adapter)
);
INSERT INTO node_work (workspace, hour, node, model, adapter, requests, input_tokens, cached_tokens, output_tokens, took_ms)
SELECT workspace, begun_unix_ms / 3600000, node, model, COALESCE(adapter, ''), COUNT(*), SUM(input_tokens), SUM(cached_tokens),
    SUM(output_tokens), SUM(took_ms)
FROM node_records GROUP BY 1, 2, 3, 4, 5;
