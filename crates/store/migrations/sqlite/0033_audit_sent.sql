-- Up to which entry of each chain a sink of the audit was sent them.

CREATE TABLE audit_sent (
    sink BLOB NOT NULL,
    chain BLOB NOT NULL,
    sequence INTEGER NOT NULL,
    PRIMARY KEY (sink, chain)
) STRICT, WITHOUT ROWID;
