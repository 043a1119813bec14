//! What gateways know of credentials and accounts from serving with them: the rate limits that the provider
//! last reported, the circuit breakers that are open, and the public id of the credential or account.

use api::moment::Moment;
use api::state::Control;
use board::{BreakerLevel, OpenBreaker};
use domain::{Principal, RateLimitState};
use schemars::JsonSchema;
use serde::Serialize;

/// Shown instead of the id of an operator account.
const MANAGED: &str = "managed";

/// The provider's rate limits for one model, as last reported.
#[derive(Serialize, JsonSchema)]
pub struct LearnedLimits {
    /// The model's name at the provider.
    model: String,
    requests: Option<Limit>,
    tokens: Option<Limit>,
    #[serde(rename = "told_at")]
    reported_at: Moment,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "LearnedLimit")]
struct Limit {
    limit: u64,
    remaining: u64,
    /// When the limit is fully restored.
    resets_at: Moment,
}

/// Newest first.
pub fn learned(control: &Control, principal: Principal) -> Vec<LearnedLimits> {
    let mut reported = control.deps.board.reported_limits(principal);
    reported.sort_by_key(|reported| std::cmp::Reverse(reported.reported_unix_ms));
    let rows = reported.into_iter().map(|reported| {
        let limit = |standing: RateLimitState| Limit {
            limit: standing.limit,
            remaining: standing.remaining,
            resets_at: Moment(reported.reported_unix_ms.saturating_add(standing.reset_ms)),
        };
        LearnedLimits {
            requests: reported.standings.requests.map(limit),
            tokens: reported.standings.tokens.map(limit),
            reported_at: Moment(reported.reported_unix_ms),
            model: reported.upstream_model.into(),
        }
    });
    rows.collect()
}

/// A circuit breaker that keeps requests from going to a credential, node or account.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "OpenBreaker")]
pub struct BreakerView {
    /// Whose failures opened it: `host`, `region` (of a provider), `credential` (with all models) or `model`.
    level: &'static str,
    /// The host, `provider/region`, the id or the provider's name of the model.
    name: String,
    /// `open`, or `half_open` if the next request tests whether it works again.
    state: &'static str,
    /// Since when only test requests pass.
    since: Moment,
    /// When the next request may test it.
    until: Moment,
    /// How often it opened since then: once, and once for each test that failed.
    openings: u32,
    /// Why it opened: `unreachable` (no connection could be opened), `failures_in_a_row` or `share_of_failures`.
    #[schemars(extend("enum" = ["unreachable", "failures_in_a_row", "share_of_failures"]))]
    reason: &'static str,
    /// The same with the numbers.
    detail: String,
}

/// The breakers that are not closed as this gateway knows them, the widest first.
pub fn breakers(control: &Control, principal: Principal) -> Vec<BreakerView> {
    let now = Now::of(control);
    control.deps.board.open_breakers(principal, now.us).iter().map(|open| show(open, now)).collect()
}

/// The time on the clock that the board is in and on the one that people read.
#[derive(Clone, Copy)]
pub struct Now {
    pub us: u64,
    pub unix_ms: u64,
}

impl Now {
    pub fn of(control: &Control) -> Self {
        let clock = &control.deps.world.clock;
        Self { us: clock.monotonic_us(), unix_ms: clock.unix_ms() }
    }

    /// A time of the board's. Computed from two clocks that drift: rounded to the second, the value is the same in
    /// every response.
    pub const fn moment(self, us: u64) -> Moment {
        let (later, earlier) = (us.saturating_sub(self.us) / 1_000, self.us.saturating_sub(us) / 1_000);
        let unix_ms = self.unix_ms.saturating_add(later).saturating_sub(earlier);
        Moment(unix_ms.next_multiple_of(1_000))
    }
}

pub fn show(open: &OpenBreaker, now: Now) -> BreakerView {
    let cause = open.cause;
    let (reason, detail) = match (open.level, cause.among) {
        (BreakerLevel::Host, None) if cause.is_unreachable => {
            ("unreachable", format!("No connection could be opened {} times in a row.", cause.failures))
        }
        (_, None) => ("failures_in_a_row", format!("{} attempts in a row failed.", cause.failures)),
        (_, Some(requests)) => {
            ("share_of_failures", format!("{} of {requests} attempts failed within moments.", cause.failures))
        }
    };
    BreakerView {
        level: open.level.as_str(),
        name: open.name.to_string(),
        state: if open.until_us <= now.us { "half_open" } else { "open" },
        since: now.moment(open.since_us),
        until: now.moment(open.until_us.max(now.us)),
        openings: open.openings,
        reason,
        detail,
    }
}

/// The id of the credential, node or account that served; only the operator sees which account it was.
pub fn principal(principal: Principal, is_operator: bool) -> String {
    match principal {
        Principal::Account(_) if !is_operator => MANAGED.to_owned(),
        principal => principal.to_string(),
    }
}
