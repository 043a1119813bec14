-- The commitment of a credential is a budget under the credential's own id, so that replicas lease parts of it. `commitment`
-- is its period, and NULL for every other budget. The previous version reads such a row as a budget that stops nothing, of
-- an end user without a name, which nobody is.

ALTER TABLE budgets ADD COLUMN commitment TEXT;

INSERT INTO budgets (id, workspace, name, kind, subject, limit_nanos, period, on_reached, counts, created_unix_ms, version,
    commitment)
SELECT id, workspace, display_name, 'end_user', X'', json_extract(commitment, '$.amount_micros') * 1000, 'month', 'allow',
    'all', created_unix_ms, version, json_extract(commitment, '$.period')
FROM credentials
WHERE json_extract(commitment, '$.period') IN ('month', 'quarter', 'year')
    AND json_type(commitment, '$.amount_micros') = 'integer'
    AND json_extract(commitment, '$.amount_micros') BETWEEN 1 AND 9000000000000000;

INSERT INTO budget_thresholds (budget, percent)
SELECT id, percent FROM budgets CROSS JOIN (SELECT 80 AS percent UNION ALL SELECT 100)
WHERE commitment IS NOT NULL;
