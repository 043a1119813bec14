-- The public key of a node that joined; the first that it sends with its credential.
ALTER TABLE node_credentials ADD COLUMN public_key BLOB;
