-- Records told against the first of their group, in a table beside the one that the version before goes on with; and
-- sums of whole days.

-- What records of the group are told against; `delta.rs` knows how. None where an older version named the group.
ALTER TABLE usage_groups ADD COLUMN template BYTEA;

-- Settled exchanges, one a row, without their trace and told against the template of their group: a body of 310 bytes
-- becomes one of about 100. The narrow columns come first, so that none is padded.
CREATE TABLE meter_records (
    usage_group INTEGER NOT NULL,
    workspace BYTEA NOT NULL,
    trace BYTEA NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (workspace, trace)
) PARTITION BY RANGE (trace);

-- Makes the partition of a week, counted from 1970, where there is none; says whether an older version has one.
CREATE FUNCTION make_meter_partition(week BIGINT) RETURNS BOOLEAN LANGUAGE plpgsql AS $$
DECLARE
    week_ms CONSTANT BIGINT := 604800000;
    name CONSTANT TEXT := 'meter_records_week_' || week;
BEGIN
    -- Of replicas that want it at once, the first makes it.
    PERFORM pg_advisory_xact_lock(hashtext('tidegate record partition'));
    IF to_regclass(name) IS NULL THEN
        -- Attached afterwards, since a partition that is made in place keeps every writer out.
        EXECUTE format('CREATE TABLE %I (LIKE meter_records)', name);
        EXECUTE format(
            'ALTER TABLE meter_records ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
            name,
            decode(lpad(to_hex(week * week_ms), 12, '0'), 'hex'),
            decode(lpad(to_hex((week + 1) * week_ms), 12, '0'), 'hex')
        );
    END IF;
    RETURN to_regclass('records_week_' || week) IS NOT NULL;
END
$$;

-- Drops the oldest partition whose week is before this one; how many that were.
CREATE FUNCTION drop_record_week(before_week BIGINT) RETURNS BIGINT LANGUAGE plpgsql
-- Whoever reads or writes meanwhile is not kept waiting by a long reader before it.
SET lock_timeout = '2s' AS $$
DECLARE
    oldest TEXT;
BEGIN
    SELECT relname INTO oldest FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
    WHERE inhparent IN ('records'::regclass, 'meter_records'::regclass)
        AND substring(relname FROM '[0-9]+$')::BIGINT < before_week
    ORDER BY substring(relname FROM '[0-9]+$')::BIGINT LIMIT 1;
    IF oldest IS NULL THEN
        RETURN 0;
    END IF;
    EXECUTE format('DROP TABLE %I', oldest);
    RETURN 1;
END
$$;

-- Days, since 1970, whose sums in `usage_minutes` (with a span of 1440 minutes) are those of their hours.
CREATE TABLE rolled_days (
    workspace BYTEA NOT NULL,
    day BIGINT NOT NULL,
    PRIMARY KEY (workspace, day)
);

-- Whatever changes an hour, of whichever version, its day is summed anew.
CREATE FUNCTION forget_rolled_day() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM rolled_days WHERE workspace = NEW.workspace AND day = NEW.minute / 1440;
    RETURN NULL;
END
$$;
CREATE TRIGGER hour_changed AFTER INSERT OR UPDATE ON usage_minutes
    FOR EACH ROW WHEN (NEW.span_minutes = 60) EXECUTE FUNCTION forget_rolled_day();

-- In which hours a group's requests are.
CREATE INDEX usage_hours_by_group ON usage_minutes (usage_group, minute) WHERE span_minutes = 60;
