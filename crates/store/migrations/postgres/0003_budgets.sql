-- What may be used: rates, budgets, and who holds which part of a budget.

-- Rates of a subject. `subject` is an id, or an end user's name as bytes; empty for the workspace itself, and for what
-- holds of every end user.
CREATE TABLE limits (
    workspace BYTEA NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    subject BYTEA NOT NULL,
    requests_per_minute BIGINT,
    tokens_per_minute BIGINT,
    concurrent_streams BIGINT,
    version BIGINT NOT NULL,
    PRIMARY KEY (workspace, kind, subject)
);

-- A bound on money. One of the period `ever` is what the workspace paid ahead.
CREATE TABLE budgets (
    id BYTEA PRIMARY KEY,
    workspace BYTEA NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    subject BYTEA NOT NULL,
    limit_nanos BIGINT NOT NULL,
    period TEXT NOT NULL,
    on_reached TEXT NOT NULL,
    counts TEXT NOT NULL,
    created_unix_ms BIGINT NOT NULL,
    version BIGINT NOT NULL
);
CREATE INDEX budgets_by_workspace ON budgets (workspace, id);

-- Percents of a budget that are told of.
CREATE TABLE budget_thresholds (
    budget BYTEA NOT NULL REFERENCES budgets (id) ON DELETE CASCADE,
    percent BIGINT NOT NULL,
    PRIMARY KEY (budget, percent)
);

-- What was spent of a budget in a period, as the books have it.
CREATE TABLE budget_periods (
    budget BYTEA NOT NULL REFERENCES budgets (id) ON DELETE CASCADE,
    period_unix_ms BIGINT NOT NULL,
    spent_nanos BIGINT NOT NULL,
    -- When somebody last found too little of it.
    recalled_unix_ms BIGINT NOT NULL,
    PRIMARY KEY (budget, period_unix_ms)
);

-- Parts of a budget that replicas may spend without asking; `ledger::lease` says what the columns mean.
CREATE TABLE budget_leases (
    budget BYTEA NOT NULL REFERENCES budgets (id) ON DELETE CASCADE,
    period_unix_ms BIGINT NOT NULL,
    replica BIGINT NOT NULL,
    held_nanos BIGINT NOT NULL,
    until_unix_ms BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    moved_nanos BIGINT NOT NULL,
    PRIMARY KEY (budget, period_unix_ms, replica)
);
CREATE INDEX budget_leases_by_replica ON budget_leases (replica);

-- Each crossing of a threshold once a period, whoever sees it first. Whoever tells the world of it claims it.
CREATE TABLE budget_alerts (
    budget BYTEA NOT NULL REFERENCES budgets (id) ON DELETE CASCADE,
    period_unix_ms BIGINT NOT NULL,
    percent BIGINT NOT NULL,
    workspace BYTEA NOT NULL,
    crossed_unix_ms BIGINT NOT NULL,
    spent_nanos BIGINT NOT NULL,
    limit_nanos BIGINT NOT NULL,
    claimed_unix_ms BIGINT,
    PRIMARY KEY (budget, period_unix_ms, percent)
);
CREATE INDEX budget_alerts_unclaimed ON budget_alerts (crossed_unix_ms) WHERE claimed_unix_ms IS NULL;

-- What was added to a workspace's credit.
CREATE TABLE credits (
    id BYTEA PRIMARY KEY,
    workspace BYTEA NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    amount_nanos BIGINT NOT NULL,
    note TEXT NOT NULL,
    actor TEXT NOT NULL,
    created_unix_ms BIGINT NOT NULL
);
CREATE INDEX credits_by_workspace ON credits (workspace, created_unix_ms);

-- When each replica was last heard of.
CREATE TABLE replica_lives (
    replica BIGINT PRIMARY KEY,
    seen_unix_ms BIGINT NOT NULL
);
