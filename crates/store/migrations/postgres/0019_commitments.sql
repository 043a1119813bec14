-- The commitment of a credential is a budget under the credential's own id, so that replicas lease parts of it. `commitment`
-- is its period, and NULL for every other budget. The previous version reads such a row as a budget that stops nothing, of
-- an end user without a name, which nobody is.

ALTER TABLE budgets ADD COLUMN commitment TEXT;

INSERT INTO budgets (id, workspace, name, kind, subject, limit_nanos, period, on_reached, counts, created_unix_ms, version,
    commitment)
SELECT id, workspace, display_name, 'end_user', ''::BYTEA, CAST(stated ->> 'amount_micros' AS BIGINT) * 1000, 'month',
    'allow', 'all', created_unix_ms, version, stated ->> 'period'
FROM (SELECT *, CAST(commitment AS JSONB) AS stated FROM credentials) AS credentials
WHERE stated ->> 'period' IN ('month', 'quarter', 'year') AND stated ->> 'amount_micros' ~ '^[1-9][0-9]{0,15}$';

INSERT INTO budget_thresholds (budget, percent)
SELECT id, percent FROM budgets CROSS JOIN (VALUES (80), (100)) AS thresholds (percent)
WHERE commitment IS NOT NULL;
