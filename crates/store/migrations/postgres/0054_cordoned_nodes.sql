-- Whether a node's owner keeps new requests from it. One that is drained is emptied as well.
ALTER TABLE nodes ADD COLUMN cordoned BIGINT NOT NULL DEFAULT 0;
