-- An id of its own for each token that a node joins with, to withdraw it by: the token itself is known to nobody here. The
-- database gives one to what gateways of the version before write.

ALTER TABLE node_join_tokens ADD COLUMN id BYTEA NOT NULL DEFAULT uuid_send(gen_random_uuid());
CREATE UNIQUE INDEX node_join_tokens_by_workspace ON node_join_tokens (workspace, id);
