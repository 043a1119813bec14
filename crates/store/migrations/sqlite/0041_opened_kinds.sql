-- Whose secret was opened: a webhook's, a hook's or an access key's; empty for what requests are sent with.

ALTER TABLE credential_openings ADD COLUMN kind TEXT NOT NULL DEFAULT '';
