-- What may be used: rates, budgets, and who holds which part of a budget.

-- Rates of a subject. `subject` is an id, or an end user's name as bytes; empty for the workspace itself, and for what
-- holds of every end user.
CREATE TABLE limits (
    workspace BLOB NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    subject BLOB NOT NULL,
    requests_per_minute INTEGER,
    tokens_per_minute INTEGER,
    concurrent_streams INTEGER,
    version INTEGER NOT NULL,
    PRIMARY KEY (workspace, kind, subject)
) STRICT, WITHOUT ROWID;

-- A bound on money. One of the period `ever` is what the workspace paid ahead.
CREATE TABLE budgets (
    id BLOB PRIMARY KEY,
    workspace BLOB NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    subject BLOB NOT NULL,
    limit_nanos INTEGER NOT NULL,
    period TEXT NOT NULL,
    on_reached TEXT NOT NULL,
    counts TEXT NOT NULL,
    created_unix_ms INTEGER NOT NULL,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX budgets_by_workspace ON budgets (workspace, id);

-- Percents of a budget that are told of.
CREATE TABLE budget_thresholds (
    budget BLOB NOT NULL REFERENCES budgets (id) ON DELETE CASCADE,
    percent INTEGER NOT NULL,
    PRIMARY KEY (budget, percent)
) STRICT, WITHOUT ROWID;

-- What was spent of a budget in a period, as the books have it.
CREATE TABLE budget_periods (
    budget BLOB NOT NULL REFERENCES budgets (id) ON DELETE CASCADE,
    period_unix_ms INTEGER NOT NULL,
    spent_nanos INTEGER NOT NULL,
    -- When somebody last found too little of it.
    recalled_unix_ms INTEGER NOT NULL,
    PRIMARY KEY (budget, period_unix_ms)
) STRICT, WITHOUT ROWID;

-- Parts of a budget that replicas may spend without asking; `ledger::lease` says what the columns mean.
CREATE TABLE budget_leases (
    budget BLOB NOT NULL REFERENCES budgets (id) ON DELETE CASCADE,
    period_unix_ms INTEGER NOT NULL,
    replica INTEGER NOT NULL,
    held_nanos INTEGER NOT NULL,
    until_unix_ms INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    moved_nanos INTEGER NOT NULL,
    PRIMARY KEY (budget, period_unix_ms, replica)
) STRICT, WITHOUT ROWID;
CREATE INDEX budget_leases_by_replica ON budget_leases (replica);

-- Each crossing of a threshold once a period, whoever sees it first. Whoever tells the world of it claims it.
CREATE TABLE budget_alerts (
    budget BLOB NOT NULL REFERENCES budgets (id) ON DELETE CASCADE,
    period_unix_ms INTEGER NOT NULL,
    percent INTEGER NOT NULL,
    workspace BLOB NOT NULL,
    crossed_unix_ms INTEGER NOT NULL,
    spent_nanos INTEGER NOT NULL,
    limit_nanos INTEGER NOT NULL,
    claimed_unix_ms INTEGER,
    PRIMARY KEY (budget, period_unix_ms, percent)
) STRICT, WITHOUT ROWID;
CREATE INDEX budget_alerts_unclaimed ON budget_alerts (crossed_unix_ms) WHERE claimed_unix_ms IS NULL;

-- What was added to a workspace's credit.
CREATE TABLE credits (
    id BLOB PRIMARY KEY,
    workspace BLOB NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    amount_nanos INTEGER NOT NULL,
    note TEXT NOT NULL,
    actor TEXT NOT NULL,
    created_unix_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX credits_by_workspace ON credits (workspace, created_unix_ms);

-- When each replica was last heard of.
CREATE TABLE replica_lives (
    replica INTEGER PRIMARY KEY,
    seen_unix_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
