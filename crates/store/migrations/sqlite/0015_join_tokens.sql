-- An id of its own for each token that a node joins with, to withdraw it by: the token itself is known to nobody here.

ALTER TABLE node_join_tokens ADD COLUMN id BLOB;
UPDATE node_join_tokens SET id = randomblob(16);
CREATE UNIQUE INDEX node_join_tokens_by_workspace ON node_join_tokens (workspace, id);
