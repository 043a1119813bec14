//! How long a write and a webhook wait, and what is read of a batch, beside the limits in `domain::limits`.

use std::time::Duration;

/// How long a write waits to take effect here before it answers that it hasn't yet.
pub(crate) const PUBLISH_TIME_MAX: Duration = Duration::from_secs(5);
/// A webhook's `Retry-After` that is honoured, in seconds; a longer one is capped.
pub(crate) const WEBHOOK_RETRY_AFTER_S_MAX: u64 = 3_600;
/// How long before its expiry an access token may be due for renewal, in milliseconds: a fifth of the life of a token that
/// lives a week. Of shorter lives the last fifth counts.
pub(crate) const SUBSCRIPTION_RENEWED_BEFORE_MS: u64 = 34 * 3_600_000;
/// How long a node may take to drop its caches.
pub(crate) const NODE_PURGE_TIME_MAX: Duration = Duration::from_secs(30);
/// Lanes that a batch is spread over: each is a job, so that several gateways work through one batch.
pub(crate) const BATCH_LANES_MAX: u64 = 8;
/// Lanes that have a turn at once in this process: of one workspace, and of all. Both leave places for other jobs.
pub(crate) const BATCH_LANES_AT_ONCE_OF_WORKSPACE: usize = 4;
pub(crate) const BATCH_LANES_AT_ONCE: usize = 12;
/// Items of a lane that are in flight at once.
pub(crate) const BATCH_ITEMS_AT_ONCE_OF_LANE: usize = 8;
/// How often an item is tried whose error another try may not have.
pub(crate) const BATCH_ITEM_TRIES_MAX: u32 = 4;
/// How long the keys of a purged workspace may take to be replaced; a rotation takes ten seconds.
pub(crate) const SHREDDING_TIME_MAX: Duration = Duration::from_secs(15 * 60);
/// How long one try of a purge waits for that, and how often it looks by itself.
pub(crate) const SHREDDING_WAIT_MAX: Duration = Duration::from_secs(30);
pub(crate) const SHREDDING_CHECK_EVERY: Duration = Duration::from_millis(500);
/// Tasks that this process makes at once.
pub(crate) const TASKS_AT_ONCE: usize = 256;
/// Tasks that are taken in one go.
pub(crate) const TASKS_CLAIMED_MAX: usize = 64;
/// How long a worker that ends waits for its tasks.
pub(crate) const TASK_GOODBYE_MAX: Duration = Duration::from_secs(10);
/// Runs of flows that this process drives at once, and those that are taken in one go.
pub(crate) const FLOW_RUNS_AT_ONCE: usize = 256;
pub(crate) const FLOW_RUNS_CLAIMED_MAX: usize = 16;
/// Runs whose time is over that are deleted in one go.
pub(crate) const FLOW_RUNS_EXPIRED_MAX: u32 = 100;
/// How long a worker that ends waits for what steps cost.
pub(crate) const FLOW_GOODBYE_MAX: Duration = Duration::from_secs(2);
/// Steps in place that are evaluated before they are stored.
pub(crate) const FLOW_STEPS_STORED_MAX: usize = 256;
/// How long a run evaluates expressions before others have a turn.
pub(crate) const FLOW_TURN_MAX: Duration = Duration::from_millis(10);
/// How long a run is kept after it ended.
pub const FLOW_RUN_KEPT: Duration = Duration::from_secs(7 * 24 * 3_600);
/// How long one try of a step takes at most, where its document says nothing.
pub(crate) const FLOW_STEP_TIME_MAX: Duration = Duration::from_secs(3_600);
/// How deep flows run others.
pub(crate) const FLOW_DEPTH_MAX: u32 = 8;
/// How long the record of a request is waited for that says what a step cost.
pub(crate) const FLOW_COST_TIME_MAX: Duration = Duration::from_secs(10);
/// How often a write of a run is tried where the store does not answer.
pub(crate) const FLOW_STORE_TRIES_MAX: u32 = 6;
/// How long a run waits for others before it looks at them by itself.
pub(crate) const FLOW_PARKED_MAX: Duration = Duration::from_secs(60);
/// How long a core waits for what is stored of a flow.
pub(crate) const FLOW_BOOK_TIME_MAX: Duration = Duration::from_secs(5);
/// How late the timer of an engine beside the queue may come before the run is sent to it again.
pub(crate) const FLOW_TIMER_LATE_MAX: Duration = Duration::from_secs(2);
/// How long one round of a run lasts that another engine drives: what it noted is not made again.
pub(crate) const FLOW_ROUND_TIME_MAX: Duration = Duration::from_secs(20);
/// Runs whose steps' costs are not known yet, beside those that are noted.
pub(crate) const FLOW_COSTS_WAITING_MAX: usize = 256;
/// How long a run that was sent to an engine may take to begin there before it is sent again.
pub const FLOW_SENT_TIME_MAX: Duration = Duration::from_secs(60);
/// Runs that are sent to an engine in one go.
pub const FLOW_RUNS_SENT_MAX: u32 = 64;
/// How often the load of added nodes is read, how long one may take to say it, and how many are asked at once.
pub(crate) const NODE_LOAD_EVERY: Duration = Duration::from_secs(5);
pub(crate) const NODE_LOAD_TIME_MAX: Duration = Duration::from_secs(2);
pub(crate) const NODE_LOADS_AT_ONCE: usize = 8;
/// Audit entries that wait to be written. Entries beyond it are dropped, and an entry of its own records how
/// many.
pub(crate) const AUDIT_QUEUED_MAX: usize = 10_000;
/// Audit entries per write.
pub(crate) const AUDIT_BATCH_MAX: usize = 256;
