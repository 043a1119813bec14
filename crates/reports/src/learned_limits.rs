//! What gateways know of credentials and accounts from serving with them: the rate limits that the provider
//! last reported, the circuit breakers that are open, and the public id of the credential or account.

use api::moment::Moment;
use api::state::Control;
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
    /// When the next request may test it.
    until: Moment,
}

/// The breakers that are not closed as this gateway knows them, the widest first.
pub fn breakers(control: &Control, principal: Principal) -> Vec<BreakerView> {
    let clock = &control.deps.world.clock;
    let (now_us, now_unix_ms) = (clock.monotonic_us(), clock.unix_ms());
    let open = control.deps.board.open_breakers(principal, now_us).into_iter();
    open.map(|breaker| {
        let left_us = breaker.until_us.saturating_sub(now_us);
        BreakerView {
            level: breaker.level.as_str(),
            name: breaker.name.into(),
            state: if left_us == 0 { "half_open" } else { "open" },
            // Computed from two clocks that drift: rounded to the second, the value is the same in every
            // response.
            until: Moment(now_unix_ms.saturating_add(left_us / 1_000).next_multiple_of(1_000)),
        }
    })
    .collect()
}

/// The id of the credential, node or account that served; only the operator sees which account it was.
#[must_use]
pub fn principal(principal: Principal, is_operator: bool) -> String {
    match principal {
        Principal::Account(_) if !is_operator => MANAGED.to_owned(),
        principal => principal.to_string(),
    }
}
