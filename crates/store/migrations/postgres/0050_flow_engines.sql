-- Which engine drives a run of a flow: it keeps the one that it began with.

ALTER TABLE flow_runs ADD COLUMN engine TEXT NOT NULL DEFAULT 'queue';
