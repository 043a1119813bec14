//! What a change of the rules would have changed for requests that were served: each is planned under the rules of now and under
//! the changed ones, without being sent.

use std::collections::BTreeMap;
use std::collections::HashMap;

use api::moment::Moment;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::Route;
use api::state::Control;
use board::{Availability, AvailabilityView, Load, SeatKey};
use domain::{Fault, MeterRecord, Nanos, Outcome, Priced, Principal, Profile, Usage};
use ledger::charge;
use plan::{Attempt, NotReplayed, ReplayWorld, Replayed, StoredRequest};
use reconcilers::of_store;
use schemars::JsonSchema;
use serde::Serialize;
use snapshot::{RouteEntry, Snapshot, WorkspaceEntry};
use store::{Page, RequestFilter};

use crate::learned_limits;
use crate::limits::{
    DRY_RUN_AT_ONCE, DRY_RUN_EXAMPLES_MAX, DRY_RUN_MOVES_MAX, DRY_RUN_PAGES_MAX, DRY_RUN_REQUESTS_DEFAULT,
    DRY_RUN_REQUESTS_MAX,
};
use crate::requests::{filter, with_filters};

const US_PER_MS: u64 = 1_000;
/// The reason for what a route's conditions leave open.
const CONDITIONS: &str = "conditions";
/// What every dry run takes for granted.
const ASSUMPTIONS: [&str; 5] = [
    "Only the first choice is compared: what would follow a failure is not.",
    "Breakers, rate limits, budgets, loads and spent commitments are taken for what they are when nothing is wrong; speeds are the medians of the requests that were read.",
    "The prompt's size is the number of tokens that were counted, and prices are those of today at the usage that was recorded, cached tokens included.",
    "Records keep no end user: an alias assigns each request by its own id, so that shares are right and single requests may differ.",
    "Hints of the client and rules of policies about what a request contains are not applied.",
];

/// The rules that are compared.
#[derive(Clone, Copy)]
pub struct Rules<'a> {
    pub snapshot: &'a Snapshot,
    pub now: &'a WorkspaceEntry,
    pub changed: &'a WorkspaceEntry,
}

/// Describes the requests that a dry run compares, which it takes in its query.
pub fn with_sample(route: Route) -> Route {
    with_filters(route)
        .query("sample", "How many requests to compare: 1000 by default, 10000 at most. They are sampled evenly from the newest 10000 that match.")
        .returns_value::<DryRun>()
}

/// What would have changed.
#[derive(Serialize, JsonSchema)]
struct DryRun {
    object: &'static str,
    requests: Compared,
    /// Requests that something else would serve first, or that would be refused or served unlike now.
    changed: u64,
    unchanged: u64,
    /// Requests of which the record does not tell.
    unknown: u64,
    /// Where requests would move from and to, most frequent first.
    moves: Vec<Move>,
    /// Whether there are more moves than are listed.
    more_moves: bool,
    refusals: Refusals,
    cost: CostChange,
    latency: LatencyChange,
    not_replayed: Vec<NotCompared>,
    assumptions: Vec<&'static str>,
}

/// The requests that were compared.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DryRunRequests")]
struct Compared {
    /// How many match, up to the 10000 newest.
    matched: u64,
    compared: u64,
    /// Older ones match, too, and were not read.
    has_more: bool,
    since: Option<Moment>,
    until: Option<Moment>,
}

/// Requests that would go elsewhere.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DryRunMove")]
struct Move {
    from: Place,
    to: Place,
    requests: u64,
    /// At recorded usage and today's prices, of those whose price is known in both places.
    before_nanos: i64,
    after_nanos: i64,
    /// Those of which it is not.
    unpriced: u64,
    /// The ids of some of them, the newest first.
    examples: Vec<String>,
}

/// What serves a request first, or the error in its place.
#[derive(Serialize, JsonSchema, Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
#[schemars(rename = "DryRunPlace")]
struct Place {
    profile: Option<&'static str>,
    principal: Option<String>,
    provider: Option<String>,
    /// The model's full name.
    model: Option<String>,
    upstream_model: Option<String>,
    region: Option<String>,
    error: Option<PlaceError>,
}

#[derive(Serialize, JsonSchema, Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[schemars(rename = "DryRunError")]
struct PlaceError {
    code: &'static str,
    detail: String,
}

#[derive(Serialize, JsonSchema, Default)]
#[schemars(rename = "DryRunRefusals")]
struct Refusals {
    /// Requests that are served now and would be refused.
    new: u64,
    /// Requests that are refused now and would be served.
    gone: u64,
}

/// What the requests cost that are served under both rules, at recorded usage and today's prices.
#[derive(Serialize, JsonSchema, Default)]
#[schemars(rename = "DryRunCost")]
struct CostChange {
    /// Those whose price is known under both.
    requests: u64,
    before_nanos: i64,
    after_nanos: i64,
    /// Those of which it is not.
    unpriced: u64,
}

/// The average of the medians of what serves each request first.
#[derive(Serialize, JsonSchema, Default)]
#[schemars(rename = "DryRunLatency")]
struct LatencyChange {
    /// Requests of which both medians are known.
    requests: u64,
    before_ms: Option<u64>,
    after_ms: Option<u64>,
}

/// Requests that could not be compared, and why.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DryRunUnknown")]
struct NotCompared {
    /// `conditions`, `no_model`, `project_gone`, `pinned`, `operation` or `cached`.
    reason: &'static str,
    detail: String,
    requests: u64,
    examples: Vec<String>,
}

/// Compares stored requests under both rules: those of the query's filter, and of an alias if one is named.
///
/// # Errors
/// 400 for a wrong filter.
pub async fn dry_run(
    control: &Control,
    request: &ApiRequest,
    alias: Option<&str>,
    rules: Rules<'_>,
) -> Result<Reply, Box<Fault>> {
    let sample = request.number("sample", DRY_RUN_REQUESTS_DEFAULT, DRY_RUN_REQUESTS_MAX)? as usize;
    let mut filter = filter(control, request).await?;
    if let Some(alias) = alias {
        filter.alias = Some(alias.to_owned());
    }
    let (records, has_more) = matching(control, request, filter).await?;
    let speeds = Speeds::of(&records);
    let clock = &control.deps.world.clock;
    let times = (clock.monotonic_us(), clock.unix_ms());
    let compared: Vec<&MeterRecord> = evenly(&records, sample).collect();
    let mut tally = Tally { is_operator: request.is_operator(), ..Tally::default() };
    for some in compared.chunks(DRY_RUN_AT_ONCE) {
        tally.compare(some, rules, &speeds, times);
        // The runtime serves others, too.
        tokio::task::yield_now().await;
    }
    let of = |record: Option<&&MeterRecord>| record.map(|record| Moment(record.started_unix_ms));
    Reply::json(&tally.finish(Compared {
        matched: records.len() as u64,
        compared: compared.len() as u64,
        has_more,
        since: of(compared.last()),
        until: of(compared.first()),
    }))
}

/// The newest records that match, and whether there may be older ones.
async fn matching(
    control: &Control,
    request: &ApiRequest,
    filter: RequestFilter,
) -> Result<(Vec<MeterRecord>, bool), Box<Fault>> {
    let most = DRY_RUN_REQUESTS_MAX as usize;
    let mut found: Vec<MeterRecord> = Vec::new();
    let mut page = Page::first(DRY_RUN_REQUESTS_MAX);
    for _ in 0..DRY_RUN_PAGES_MAX {
        let store = control.deps.store.records();
        let listed = store.matching(request.workspace(), filter.clone(), page).await.map_err(of_store)?;
        found.extend(listed.rows);
        let Some(next) = listed.next else { return Ok((found, false)) };
        if found.len() >= most {
            break;
        }
        page = Page { limit: DRY_RUN_REQUESTS_MAX, after: Some(next) };
    }
    found.truncate(most);
    Ok((found, true))
}

/// At most `most` of them, at equal distances.
fn evenly<T>(all: &[T], most: usize) -> impl Iterator<Item = &T> {
    let count = all.len().min(most);
    (0..count).filter_map(move |at| all.get(at * all.len() / count.max(1)))
}

/// How long answers took, by what served them with which model: the medians of the first byte and of the end.
struct Speeds(HashMap<(Principal, String), (Option<u64>, u64)>);

impl Speeds {
    fn of(records: &[MeterRecord]) -> Self {
        let mut times: HashMap<(Principal, String), (Vec<u64>, Vec<u64>)> = HashMap::new();
        for record in records.iter().filter(|record| record.outcome == Outcome::Completed) {
            let Some(served) = record.attempts.last().filter(|one| Some(one.principal) == record.principal)
            else {
                continue;
            };
            let (first, whole) = times.entry((served.principal, served.upstream_model.clone())).or_default();
            let timeline = &record.timeline;
            if timeline.first_byte_us > 0 {
                first.push(timeline.first_byte_us);
            }
            if timeline.settled_us > 0 {
                whole.push(timeline.settled_us);
            }
        }
        let medians = times.into_iter().filter_map(|(seat, (mut first, mut whole))| {
            Some((seat, (median(&mut first), median(&mut whole)?)))
        });
        Self(medians.collect())
    }

    fn of_seat(&self, principal: Principal, upstream_model: &str) -> Option<(Option<u64>, u64)> {
        self.0.get(&(principal, upstream_model.to_owned())).copied()
    }

    fn whole_us(&self, attempt: Option<&Attempt>) -> Option<u64> {
        let attempt = attempt?;
        self.of_seat(attempt.principal(), attempt.upstream_model()).map(|(_, whole)| whole)
    }
}

fn median(times: &mut [u64]) -> Option<u64> {
    let middle = times.len().checked_sub(1)? / 2;
    Some(*times.select_nth_unstable(middle).1)
}

/// Nothing is out of order or busy, and everything is as fast as it was.
impl AvailabilityView for Speeds {
    fn availability(&self, _: &SeatKey<'_>, _: u64) -> Availability {
        Availability::Open
    }

    fn first_byte_us(&self, principal: Principal, upstream_model: &str) -> Option<u64> {
        self.of_seat(principal, upstream_model)?.0
    }

    fn load(&self, principal: Principal, upstream_model: &str, _: u64) -> Load {
        let found = self.of_seat(principal, upstream_model);
        Load {
            first_byte_us: found.and_then(|(first, _)| first),
            whole_us: found.map(|(_, whole)| whole),
            ..Load::default()
        }
    }
}

#[derive(Default)]
struct Moved {
    requests: u64,
    before: Nanos,
    after: Nanos,
    unpriced: u64,
    examples: Vec<String>,
    errors: (Option<String>, Option<String>),
}

#[derive(Default)]
struct Missed {
    detail: String,
    requests: u64,
    examples: Vec<String>,
}

#[derive(Default)]
struct Tally {
    is_operator: bool,
    changed: u64,
    unchanged: u64,
    moves: BTreeMap<(Place, Place), Moved>,
    refusals: Refusals,
    cost: CostChange,
    latency_requests: u64,
    latency_us: (u64, u64),
    unknown: BTreeMap<&'static str, Missed>,
}

impl Tally {
    fn compare(&mut self, records: &[&MeterRecord], rules: Rules<'_>, speeds: &Speeds, times: (u64, u64)) {
        let (now_us, now_unix_ms) = times;
        let world = ReplayWorld { snapshot: rules.snapshot, board: speeds, now_us, now_unix_ms };
        for record in records {
            match StoredRequest::new(record, rules.now) {
                Err(why) => self.leave_out(record, why),
                Ok(stored) => {
                    let (before, after) = (stored.plan(rules.now, world), stored.plan(rules.changed, world));
                    self.add(record, &before, &after, speeds);
                }
            }
        }
    }

    fn leave_out(&mut self, record: &MeterRecord, why: NotReplayed) {
        self.note_unknown(record, why.as_str(), || why.detail().to_owned());
    }

    fn note_unknown(&mut self, record: &MeterRecord, reason: &'static str, detail: impl FnOnce() -> String) {
        let of = self.unknown.entry(reason).or_default();
        if of.requests == 0 {
            of.detail = detail();
        }
        of.requests += 1;
        note_example(&mut of.examples, record);
    }

    fn add(&mut self, record: &MeterRecord, before: &Replayed<'_>, after: &Replayed<'_>, speeds: &Speeds) {
        let (from, to) = (self.place(before), self.place(after));
        let is_open = !before.undecided.is_empty() || !after.undecided.is_empty();
        if is_open && (from != to || before.undecided != after.undecided) {
            let open = before.undecided.iter().chain(&after.undecided).copied();
            return self.note_unknown(record, CONDITIONS, || open_sentence(open));
        }
        let prices = (cost(before, &record.usage), cost(after, &record.usage));
        if before.attempt.is_some() && after.attempt.is_some() {
            match prices {
                (Some(before), Some(after)) => {
                    self.cost.requests += 1;
                    self.cost.before_nanos = self.cost.before_nanos.saturating_add(before.0);
                    self.cost.after_nanos = self.cost.after_nanos.saturating_add(after.0);
                }
                _ => self.cost.unpriced += 1,
            }
            let whole = speeds.whole_us(before.attempt.as_ref());
            if let Some((old, new)) = whole.zip(speeds.whole_us(after.attempt.as_ref())) {
                self.latency_requests += 1;
                self.latency_us.0 = self.latency_us.0.saturating_add(old);
                self.latency_us.1 = self.latency_us.1.saturating_add(new);
            }
        }
        if from == to {
            self.unchanged += 1;
            return;
        }
        self.changed += 1;
        match (&before.attempt, &after.attempt) {
            (Some(_), None) => self.refusals.new += 1,
            (None, Some(_)) => self.refusals.gone += 1,
            _ => {}
        }
        let moved = self.moves.entry((from, to)).or_default();
        moved.requests += 1;
        if let (Some(before), Some(after)) = prices {
            moved.before = Nanos(moved.before.0.saturating_add(before.0));
            moved.after = Nanos(moved.after.0.saturating_add(after.0));
        } else {
            moved.unpriced += 1;
        }
        if moved.requests == 1 {
            let detail = |of: &Replayed<'_>| of.fault.as_ref().map(|fault| fault.to_string());
            moved.errors = (detail(before), detail(after));
        }
        note_example(&mut moved.examples, record);
    }

    /// With the error's code alone, so that its words don't tell places apart.
    fn place(&self, replayed: &Replayed<'_>) -> Place {
        let Some(attempt) = &replayed.attempt else {
            let code = replayed.fault.as_ref().map_or("internal_error", |fault| fault.code);
            return Place { error: Some(PlaceError { code, detail: String::new() }), ..Place::default() };
        };
        let model = attempt.fallback_model().unwrap_or(&replayed.resolved_model);
        Place {
            profile: Some(attempt.profile().as_str()),
            principal: Some(learned_limits::principal(attempt.principal(), self.is_operator)),
            provider: Some(attempt.provider().to_owned()),
            model: Some(model.to_string()),
            upstream_model: Some(attempt.upstream_model().to_owned()),
            region: attempt.region().map(str::to_owned),
            error: None,
        }
    }

    fn finish(self, requests: Compared) -> DryRun {
        let mut moves: Vec<Move> = self.moves.into_iter().map(moved).collect();
        moves.sort_by_key(|one| std::cmp::Reverse(one.requests));
        let more_moves = moves.len() > DRY_RUN_MOVES_MAX;
        moves.truncate(DRY_RUN_MOVES_MAX);
        let average =
            |sum_us: u64| sum_us.checked_div(self.latency_requests).map(|us| us.div_ceil(US_PER_MS));
        let not_replayed: Vec<_> = self
            .unknown
            .into_iter()
            .map(|(reason, Missed { detail, requests, examples })| NotCompared {
                reason,
                detail,
                requests,
                examples,
            })
            .collect();
        DryRun {
            object: "dry_run",
            requests,
            changed: self.changed,
            unchanged: self.unchanged,
            unknown: not_replayed.iter().map(|one| one.requests).sum(),
            moves,
            more_moves,
            refusals: self.refusals,
            cost: self.cost,
            latency: LatencyChange {
                requests: self.latency_requests,
                before_ms: average(self.latency_us.0),
                after_ms: average(self.latency_us.1),
            },
            not_replayed,
            assumptions: ASSUMPTIONS.to_vec(),
        }
    }
}

fn moved(((from, to), moved): ((Place, Place), Moved)) -> Move {
    let explained = |place: Place, detail: Option<String>| Place {
        error: place.error.map(|error| PlaceError { detail: detail.unwrap_or_default(), ..error }),
        ..place
    };
    let (before, after) = moved.errors;
    Move {
        from: explained(from, before),
        to: explained(to, after),
        requests: moved.requests,
        before_nanos: moved.before.0,
        after_nanos: moved.after.0,
        unpriced: moved.unpriced,
        examples: moved.examples,
    }
}

fn note_example(examples: &mut Vec<String>, record: &MeterRecord) {
    if examples.len() < DRY_RUN_EXAMPLES_MAX {
        examples.push(record.trace.to_string());
    }
}

fn open_sentence<'a>(routes: impl Iterator<Item = &'a RouteEntry>) -> String {
    let mut ids: Vec<String> = routes.map(|route| route.id.to_string()).collect();
    ids.sort();
    ids.dedup();
    format!(
        "Whether {} applies depends on what the records don't keep: metadata, the end user, the size of a prompt that was never \
         counted, or the tools of a request that an earlier version served.",
        ids.join(", ")
    )
}

/// What its payer would pay for what was used; `None` without a known price, or where nothing serves.
fn cost(replayed: &Replayed<'_>, usage: &Usage) -> Option<Nanos> {
    let attempt = replayed.attempt.as_ref()?;
    let charge = charge(attempt.profile(), attempt.rates_of(usage), attempt.markup_bps(), usage);
    if charge.priced == Priced::Unpriced {
        return None;
    }
    Some(match attempt.profile() {
        Profile::ManagedProvider => charge.cost,
        Profile::Byok | Profile::Subscription | Profile::Byoc => charge.provider_cost,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_taken_at_equal_distances() {
        let all: Vec<usize> = (0..10).collect();
        for (most, expected) in
            [(3, vec![0, 3, 6]), (10, all.clone()), (50, all.clone()), (1, vec![0]), (4, vec![0, 2, 5, 7])]
        {
            assert_eq!(evenly(&all, most).copied().collect::<Vec<_>>(), expected, "{most}");
        }
        assert_eq!(evenly::<usize>(&[], 5).count(), 0);
    }

    #[test]
    fn a_median_is_one_of_the_times() {
        assert_eq!(median(&mut []), None);
        assert_eq!(median(&mut [7]), Some(7));
        assert_eq!(median(&mut [9, 1, 5]), Some(5));
        assert_eq!(median(&mut [9, 1, 5, 7]), Some(5));
    }
}
