-- How often somebody tried to sign in of late, at whichever replica. Of who tries only the keyed hash is kept.

CREATE TABLE sign_in_tries (
    trier BLOB PRIMARY KEY,
    tries INTEGER NOT NULL,
    since_unix_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sign_in_tries_by_time ON sign_in_tries (since_unix_ms);
