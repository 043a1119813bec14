-- How long a task is stored after its end, where its client said so.
ALTER TABLE run_tasks ADD COLUMN ttl_ms INTEGER;

-- Of a warm session, whose runs stay where the first one ran: the app that it runs; how long it lasts without a run, and until
-- when that is; when it was ended; how many runs it had; and where they stay.
ALTER TABLE sessions ADD COLUMN warm_app TEXT;
ALTER TABLE sessions ADD COLUMN warm_idle_ms INTEGER;
ALTER TABLE sessions ADD COLUMN warm_until_unix_ms INTEGER;
ALTER TABLE sessions ADD COLUMN warm_ended_unix_ms INTEGER;
ALTER TABLE sessions ADD COLUMN warm_calls INTEGER;
ALTER TABLE sessions ADD COLUMN warm_seat TEXT;
