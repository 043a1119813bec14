-- Records told against the first of their group, and sums of whole days.

-- What records of the group are told against; `delta.rs` knows how. None where an older version named the group.
ALTER TABLE usage_groups ADD COLUMN template BLOB;

-- Days, since 1970, whose sums in `usage_minutes` (with a span of 1440 minutes) are those of their hours.
CREATE TABLE rolled_days (
    workspace BLOB NOT NULL,
    day INTEGER NOT NULL,
    PRIMARY KEY (workspace, day)
) STRICT, WITHOUT ROWID;

-- Whatever changes an hour, its day is summed anew.
CREATE TRIGGER hour_made AFTER INSERT ON usage_minutes WHEN NEW.span_minutes = 60 BEGIN
    DELETE FROM rolled_days WHERE workspace = NEW.workspace AND day = NEW.minute / 1440;
END;
CREATE TRIGGER hour_changed AFTER UPDATE ON usage_minutes WHEN NEW.span_minutes = 60 BEGIN
    DELETE FROM rolled_days WHERE workspace = NEW.workspace AND day = NEW.minute / 1440;
END;

-- In which hours a group's requests are.
CREATE INDEX usage_hours_by_group ON usage_minutes (usage_group, minute) WHERE span_minutes = 60;
