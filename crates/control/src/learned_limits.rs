//! What gateways know of credentials and accounts from serving with them: the rate limits that the provider
//! last reported, and the public id of the credential or account.

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

/// The id of the credential, node or account that served; only the operator sees which account it was.
#[must_use]
pub fn principal(principal: Principal, is_operator: bool) -> String {
    match principal {
        Principal::Account(_) if !is_operator => MANAGED.to_owned(),
        principal => principal.to_string(),
    }
}
