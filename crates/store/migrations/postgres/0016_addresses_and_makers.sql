-- Nothing proves that an email is somebody's, so that it must keep nobody out: where another person has it already, a
-- person's own is here, and `email` is a name that nobody else has.

ALTER TABLE people ADD COLUMN address TEXT;
CREATE INDEX people_by_address ON people (address);

-- In whose name a key was made, so that it is known what to do with it when they leave. Nobody's where the system or the
-- operator made it, and of keys that are older than this.

ALTER TABLE api_keys ADD COLUMN created_by BYTEA;
