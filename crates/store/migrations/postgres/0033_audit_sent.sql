-- Up to which entry of each chain a sink of the audit was sent them.

CREATE TABLE audit_sent (
    sink BYTEA NOT NULL,
    chain BYTEA NOT NULL,
    sequence BIGINT NOT NULL,
    PRIMARY KEY (sink, chain)
);
