-- Requests with long prompts, which some providers charge more for: few among all of a node's records.
CREATE INDEX node_records_long ON node_records (workspace, begun_unix_ms) WHERE input_tokens > 100000;
