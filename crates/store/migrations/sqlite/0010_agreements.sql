-- What the owner of a credential or an account states of its contract with the provider. A credential has the others since the
-- first of these files.

ALTER TABLE credentials ADD COLUMN compliance TEXT NOT NULL DEFAULT '[]';
ALTER TABLE accounts ADD COLUMN pricing TEXT NOT NULL DEFAULT '[]';
ALTER TABLE accounts ADD COLUMN retention TEXT NOT NULL DEFAULT 'null';
ALTER TABLE accounts ADD COLUMN commitment TEXT NOT NULL DEFAULT 'null';
ALTER TABLE accounts ADD COLUMN compliance TEXT NOT NULL DEFAULT '[]';
