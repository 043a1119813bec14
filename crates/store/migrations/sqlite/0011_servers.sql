-- What is known of the servers behind credentials and nodes: what a probe found, and what a person stated.

ALTER TABLE credentials ADD COLUMN server TEXT NOT NULL DEFAULT '{}';
ALTER TABLE nodes ADD COLUMN server TEXT NOT NULL DEFAULT '{}';
