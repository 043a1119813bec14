-- The priority of a key's requests under overload, and the most that their hints can state; NULL where it has none.

ALTER TABLE api_keys ADD COLUMN priority INTEGER;
