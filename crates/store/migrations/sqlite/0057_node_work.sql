-- What nodes served: sums of node_records, by the hour since 1970 in which a request began.
CREATE TABLE node_work (
    workspace BLOB NOT NULL,
    hour INTEGER NOT NULL,
    node BLOB NOT NULL,
    model TEXT NOT NULL,
    -- Empty if there was none.
    adapter TEXT NOT NULL,
    requests INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    took_ms INTEGER NOT NULL,
    PRIMARY KEY (workspace, hour, node, model, adapter)
) STRICT, WITHOUT ROWID;
INSERT INTO node_work (workspace, hour, node, model, adapter, requests, input_tokens, cached_tokens, output_tokens, took_ms)
SELECT workspace, begun_unix_ms / 3600000, node, model, COALESCE(adapter, ''), COUNT(*), SUM(input_tokens), SUM(cached_tokens),
    SUM(output_tokens), SUM(took_ms)
FROM node_records GROUP BY 1, 2, 3, 4, 5;
