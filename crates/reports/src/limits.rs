//! What plans, lists of requests and bills take and show at most, beside the limits in `domain::limits`.

use std::time::Duration;

/// Length of the note on a credit: a few sentences.
pub(crate) const CREDIT_NOTE_BYTES_MAX: usize = 500;
/// The newest credits that a billing account shows, so that its page stays readable.
pub(crate) const CREDITS_LISTED_MAX: u32 = 50;
/// Records that one data path of many requests reads, newest first: a second's work.
pub(crate) const DATA_PATH_RECORDS_MAX: u64 = 50_000;
/// Objects of each kind that are looked at for what needs attention.
pub(crate) const ATTENTION_ROWS_MAX: usize = 10_000;
/// What needs attention, shown at once: more is no list that people read.
pub(crate) const ATTENTION_LISTED_MAX: usize = 100;
/// Pages of them: where few match, a page may have few.
pub(crate) const DATA_PATH_PAGES_MAX: usize = 200;
/// Rows of what is held of the requests of one data path.
pub(crate) const DATA_PATH_HELD_MAX: u32 = 50_000;
/// Requests that a dry run plans before it lets others run.
pub(crate) const DRY_RUN_AT_ONCE: usize = 100;
/// Ids of requests that each line of a dry run names.
pub(crate) const DRY_RUN_EXAMPLES_MAX: usize = 5;
/// Moves that a dry run lists: a screen or two.
pub(crate) const DRY_RUN_MOVES_MAX: usize = 100;
/// Pages of records that a dry run reads; where few match, a page may have few.
pub(crate) const DRY_RUN_PAGES_MAX: usize = 100;
/// Requests that a dry run compares unless more or fewer are wanted.
pub(crate) const DRY_RUN_REQUESTS_DEFAULT: u32 = 1_000;
/// The most, which are all in memory.
pub(crate) const DRY_RUN_REQUESTS_MAX: u32 = 10_000;
/// The longest window of a usage query by minute: a day, plus the slack that a window extends past now.
pub(crate) const USAGE_BY_MINUTE_MS_MAX: u64 = 25 * 3_600_000;
/// Their bytes together, as many as a request's own headers may have at most servers.
pub(crate) const PLANNED_HEADER_BYTES_MAX: usize = 16 * 1024;
/// Headers of a request that is planned; a plan depends on one or two.
pub(crate) const PLANNED_HEADERS_MAX: usize = 32;
/// Bytes of a planned request's path with its query.
pub(crate) const PLANNED_PATH_BYTES_MAX: usize = 2_048;
/// Cheaper and faster candidates of a plan that are listed.
pub(crate) const PLANNED_OTHERS_MAX: usize = 20;
/// Requests with the status of refusals that one count of refusals reads, newest first.
pub(crate) const REFUSALS_READ_MAX: usize = 20_000;
/// Budgets whose forecasts one report on a workload has.
pub(crate) const DIAGNOSED_BUDGETS_MAX: u32 = 200;
/// Reports on workloads that are kept of each workspace, the newest.
pub(crate) const DIAGNOSTICS_KEPT_MAX: u32 = 100;
/// Pages of records that one report reads at most: where few match, a page may have few.
pub(crate) const DIAGNOSTICS_PAGES_MAX: usize = 100;
/// Bytes of an id or a name in an uploaded trace: nothing that prose would fit in.
pub(crate) const TRACE_NAME_BYTES_MAX: usize = 128;
/// The largest number of an uploaded trace, tokens or milliseconds: ten years of the latter.
pub(crate) const TRACE_NUMBER_MAX: u64 = 400_000_000_000;
/// Traces of one upload.
pub(crate) const TRACES_UPLOADED_MAX: usize = 5_000;
/// Lines of one comparison of scores.
pub(crate) const SCORE_LINES_MAX: u32 = 2_000;
/// Bytes of what a score judges: a word or two, nothing that prose would fit in.
pub(crate) const SCORE_NAME_BYTES_MAX: usize = 64;
/// A score is within plus and minus this.
pub(crate) const SCORE_VALUE_MAX: f64 = 1_000_000.0;
/// Scores of one request.
pub(crate) const SCORES_OF_REQUEST_MAX: u32 = 50;
/// Records that one reconciliation reads: five busy months.
pub(crate) const RECONCILED_RECORDS_MAX: u64 = 5_000_000;
/// Records that a reconciliation reads at once.
pub(crate) const RECONCILED_PAGE_MAX: u32 = 2_000;
/// Files of one reconciliation: the months of a year, in usage and in costs.
pub(crate) const RECONCILED_FILES_MAX: usize = 24;
/// Requests of a session that are replayed at once.
pub(crate) const REPLAYED_AT_ONCE_MAX: u32 = 20;
/// How long a replay waits for the record of its answer, which comes about a second later.
pub(crate) const REPLAY_RECORD_WAIT_MAX: Duration = Duration::from_secs(5);
/// Two texts that share little are compared coarsely after that.
pub(crate) const DIFF_TIME_MAX: Duration = Duration::from_millis(200);
/// Failed attempts with which an upstream counts as failing: one alone may be chance.
pub(crate) const FAILING_MIN: u32 = 2;
