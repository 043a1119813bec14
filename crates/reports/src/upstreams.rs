//! `/v2/health/upstreams`: what this gateway knows of the credentials, nodes and accounts that it serves with: breakers,
//! pauses, limits, load and speed.

use std::sync::Arc;

use api::access::Access;
use api::moment::Moment;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use board::{AgreedRate, BreakerLevel, Pacing, Pause, PauseCause, RecentFailures, SharedBreaker};
use domain::{AgreedLimits, Fault, Principal, WorkspaceId};
use http::Method;
use schemars::JsonSchema;
use serde::Serialize;
use snapshot::{AccountEntry, CredentialEntry, CredentialState, NodeEntry, NodeState};

use crate::learned_limits::{self, BreakerView, LearnedLimits, Now};
use crate::limits::FAILING_MIN;

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/v2/health/upstreams", Access::LOOK, list)
            .says(
                "Shows the health of the workspace's credentials, nodes and subscriptions, and to the operator that of its \
                 accounts: open breakers, pauses, limits, load and speed, as the answering gateway knows them.",
            )
            .returns::<HealthView>(),
    ]
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "UpstreamHealth")]
struct HealthView {
    object: &'static str,
    /// The gateway that answered, over all of its cores: another one may know others to be down.
    gateway: String,
    /// How many gateways serve from this database.
    gateways: u64,
    as_of: Moment,
    /// The breakers that are not closed, the widest first.
    breakers: Vec<MetBreaker>,
    /// How many breakers of other workspaces are not closed, by level; only the operator sees it.
    breakers_elsewhere: Option<Elsewhere>,
    data: Vec<UpstreamView>,
}

#[derive(Serialize, JsonSchema)]
struct MetBreaker {
    #[serde(flatten)]
    breaker: BreakerView,
    /// The ids of the upstreams that met it.
    upstreams: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BreakersElsewhere")]
struct Elsewhere {
    host: u64,
    region: u64,
    credential: u64,
    model: u64,
}

/// A credential, subscription, node or account.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Upstream")]
struct UpstreamView {
    id: String,
    #[schemars(extend("enum" = ["byok", "subscription", "byoc", "managed_provider"]))]
    profile: &'static str,
    display_name: String,
    /// Absent for nodes.
    provider: Option<String>,
    region: Option<String>,
    /// `off` (by its owner, or expired), `unverified` (its provider has never accepted it), `cordoned`, `draining` or
    /// `unreachable` (nodes), `refused` (by its provider), `broken` (a breaker that concerns all of its models), `degraded` (one of its
    /// models), `failing` (half of its last attempts or more failed), `paced` or `ok`.
    #[schemars(extend("enum" = ["off", "unverified", "cordoned", "draining", "unreachable", "refused", "broken", "degraded", "failing", "paced", "ok"]))]
    status: &'static str,
    /// Absent if none of its last attempts failed.
    failures: Option<FailuresView>,
    pauses: Vec<PauseView>,
    /// This gateway's share of the limits that were agreed with the provider; absent if none paces requests.
    pacing: Option<PacingView>,
    /// The rate limits that the provider last reported to this gateway.
    learned_limits: Vec<LearnedLimits>,
    /// The models that were recently requested from it.
    models: Vec<ModelView>,
}

/// The attempts that failed, among all: of the last seconds, or since the last one that succeeded.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "UpstreamFailures")]
struct FailuresView {
    failed: u32,
    attempts: u32,
}

/// A time in which it is not called.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "UpstreamPause")]
struct PauseView {
    /// The provider's name of the model; absent if it concerns all of them.
    model: Option<String>,
    /// `limited` (the provider named the time), `caution` (it did not), or the class of the refusal of the credential.
    reason: &'static str,
    detail: String,
    /// When the next request may find out whether it is over.
    until: Moment,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "UpstreamPacing")]
struct PacingView {
    requests_per_minute: Option<RateView>,
    requests_per_day: Option<RateView>,
    tokens_per_minute: Option<RateView>,
    concurrent_requests: Option<RateView>,
    /// When the next request may be sent; absent if it may now.
    ready_at: Option<Moment>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "UpstreamRate")]
struct RateView {
    limit: u64,
    left: u64,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "UpstreamModel")]
struct ModelView {
    /// The provider's name of the model.
    model: String,
    in_flight: u32,
    /// The median time to the first byte, as measured lately; absent if it was not.
    first_byte_p50_ms: Option<u64>,
    /// The median time to the end of answers that were not streamed.
    whole_p50_ms: Option<u64>,
}

async fn list(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let snapshot = control.deps.keeper.current();
    let here = request.workspace();
    let workspace = snapshot.workspace(here).ok_or_else(|| Box::new(Fault::internal()))?;
    let (board, now) = (&control.deps.board, Now::of(control));
    let mut open = board.breakers_of(Some(here), now.us);
    if request.is_operator() {
        open.extend(board.breakers_of(None, now.us));
    }
    let look = Look { control, now, open: &open };
    let own = workspace.credentials.iter().map(|entry| look.credential(entry));
    let mut data: Vec<UpstreamView> =
        own.chain(workspace.nodes.iter().map(|entry| look.node(entry))).collect();
    if request.is_operator() {
        data.extend(snapshot.accounts().iter().map(|entry| look.account(entry)));
    }
    Reply::json(&HealthView {
        object: "upstream_health",
        gateway: control.deps.replica.clone(),
        gateways: board.gateways(),
        as_of: Moment(now.unix_ms),
        breakers: open.iter().map(|met| show_met(met, now)).collect(),
        breakers_elsewhere: request.is_operator().then(|| elsewhere(control, here, now)),
        data,
    })
}

fn show_met(met: &SharedBreaker, now: Now) -> MetBreaker {
    let upstreams = met.principals.iter().map(ToString::to_string).collect();
    MetBreaker { breaker: learned_limits::show(&met.breaker, now), upstreams }
}

fn elsewhere(control: &Control, here: WorkspaceId, now: Now) -> Elsewhere {
    let counts = control.deps.board.breakers_elsewhere(here, now.us);
    let of = |level| counts.get(&level).copied().unwrap_or_default();
    Elsewhere {
        host: of(BreakerLevel::Host),
        region: of(BreakerLevel::Region),
        credential: of(BreakerLevel::Credential),
        model: of(BreakerLevel::Model),
    }
}

/// What the views of one answer are made from.
struct Look<'a> {
    control: &'a Control,
    now: Now,
    open: &'a [SharedBreaker],
}

/// What an upstream is, whatever it is.
struct Described<'a> {
    principal: Principal,
    display_name: &'a str,
    provider: Option<&'a str>,
    region: Option<&'a str>,
    /// Why it is not called, whatever the board says.
    out_of_use: Option<&'static str>,
    secret_version: u32,
    limits: AgreedLimits,
}

impl Look<'_> {
    fn credential(&self, entry: &CredentialEntry) -> UpstreamView {
        let is_over = entry.expires_unix_ms.is_some_and(|end| end <= self.now.unix_ms);
        self.show(&Described {
            principal: entry.principal(),
            display_name: &entry.display_name,
            provider: Some(&entry.provider),
            region: entry.region.as_deref(),
            out_of_use: match entry.state {
                CredentialState::Disabled | CredentialState::Revoked => Some("off"),
                CredentialState::Unverified => Some("unverified"),
                CredentialState::Invalid => Some("refused"),
                CredentialState::Active => is_over.then_some("off"),
            },
            secret_version: entry.sealed.version,
            limits: entry.agreement.limits,
        })
    }

    fn account(&self, entry: &AccountEntry) -> UpstreamView {
        self.show(&Described {
            principal: Principal::Account(entry.id),
            display_name: &entry.display_name,
            provider: Some(&entry.provider),
            region: entry.region.as_deref(),
            out_of_use: entry.disabled.then_some("off"),
            secret_version: entry.sealed.version,
            limits: entry.agreement.limits,
        })
    }

    fn node(&self, entry: &NodeEntry) -> UpstreamView {
        self.show(&Described {
            principal: Principal::Node(entry.id),
            display_name: &entry.name,
            provider: None,
            region: None,
            out_of_use: match entry.state {
                NodeState::Ready => None,
                NodeState::Cordoned => Some("cordoned"),
                NodeState::Draining => Some("draining"),
                NodeState::Unreachable => Some("unreachable"),
            },
            secret_version: entry.sealed.as_ref().map_or(0, |sealed| sealed.version),
            limits: AgreedLimits::default(),
        })
    }

    fn show(&self, one: &Described<'_>) -> UpstreamView {
        let (board, now) = (&self.control.deps.board, self.now);
        let mut pauses = board.pauses(one.principal, now.us);
        pauses.retain(|pause| pause.secret_version.is_none_or(|version| version == one.secret_version));
        let pacing = board.pacing(one.principal, &one.limits, now.us);
        let models = board.loads(one.principal, now.us).into_iter();
        let failures = board.failures(one.principal, now.us);
        UpstreamView {
            id: one.principal.to_string(),
            profile: one.principal.profile().as_str(),
            display_name: one.display_name.to_owned(),
            provider: one.provider.map(str::to_owned),
            region: one.region.map(str::to_owned),
            status: one.out_of_use.unwrap_or_else(|| self.status(one.principal, &pauses, failures, pacing)),
            failures: (failures.failed > 0)
                .then_some(FailuresView { failed: failures.failed, attempts: failures.attempts }),
            pauses: pauses.into_iter().map(|pause| show_pause(pause, now)).collect(),
            pacing: pacing.map(|pacing| show_pacing(pacing, now)),
            learned_limits: learned_limits::learned(self.control, one.principal),
            models: models
                .map(|(model, load)| ModelView {
                    model: model.into(),
                    in_flight: load.in_flight,
                    first_byte_p50_ms: load.first_byte_us.map(|us| us / 1_000),
                    whole_p50_ms: load.whole_us.map(|us| us / 1_000),
                })
                .collect(),
        }
    }

    /// The worst that the board says.
    fn status(
        &self,
        principal: Principal,
        pauses: &[Pause],
        failures: RecentFailures,
        pacing: Option<Pacing>,
    ) -> &'static str {
        let RecentFailures { failed, attempts } = failures;
        let met = || self.open.iter().filter(|met| met.principals.contains(&principal));
        let is_refused =
            |pause: &Pause| pause.model.is_none() && matches!(pause.cause, PauseCause::Refused(_));
        match () {
            () if pauses.iter().any(is_refused) => "refused",
            () if met().any(|met| met.breaker.level != BreakerLevel::Model) => "broken",
            () if !pauses.is_empty() || met().next().is_some() => "degraded",
            () if failed >= FAILING_MIN && failed.saturating_mul(2) >= attempts => "failing",
            () if pacing.is_some_and(|pacing| pacing.ready_us > self.now.us) => "paced",
            () => "ok",
        }
    }
}

fn show_pause(pause: Pause, now: Now) -> PauseView {
    let (reason, detail) = match pause.cause {
        PauseCause::Limited => {
            ("limited", "The provider limited it until then, or nothing is left of its limit.".to_owned())
        }
        PauseCause::Caution => (
            "caution",
            "The provider limited it without a time: others that can serve are asked first.".to_owned(),
        ),
        PauseCause::Refused(class) => (
            class.as_str(),
            format!(
                "The provider refused the credential ({}); it is tested once in a while.",
                class.as_str()
            ),
        ),
    };
    PauseView {
        model: pause.model.map(String::from),
        reason,
        detail,
        until: now.moment(pause.until_us.max(now.us)),
    }
}

fn show_pacing(pacing: Pacing, now: Now) -> PacingView {
    let rate = |rate: Option<AgreedRate>| rate.map(|AgreedRate { limit, left }| RateView { limit, left });
    PacingView {
        requests_per_minute: rate(pacing.requests_per_minute),
        requests_per_day: rate(pacing.requests_per_day),
        tokens_per_minute: rate(pacing.tokens_per_minute),
        concurrent_requests: rate(pacing.concurrent_requests),
        ready_at: (pacing.ready_us > now.us).then(|| now.moment(pacing.ready_us)),
    }
}
