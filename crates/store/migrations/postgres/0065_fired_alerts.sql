-- When the rule last began to fire, also after it was resolved.
ALTER TABLE alert_rules ADD COLUMN fired_unix_ms BIGINT;
