//! The gate: what a change of the rules would move from others onto nodes, and whether reports that hold cover that.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use api::access::insufficient_role;
use api::failure::invalid;
use api::request::ApiRequest;
use api::router::Route;
use api::state::Control;
use board::AllOpen;
use domain::limits::PAGE_ROWS_MAX;
use domain::{
    AuditId, Fault, FaultClass, MeterRecord, NodeId, Principal, Profile, Role, RouteConditions, TraceId,
    WorkspaceId,
};
use plan::{ReplayWorld, Replayed, StoredRequest};
use proof::document;
use reconcilers::of_store;
use replay::{Gates, ReplayKind, Verdict};
use serde_json::{Map, Value};
use snapshot::{NodeState, RouteEntry, Snapshot, WorkspaceEntry};
use store::{Dimension, Noted, Page, Premise, RequestFilter, UsageFilter, UsageQuery, Window};

use crate::drawing::{is_elsewhere, kind_of};
use crate::limits::{
    GATED_MODELS_MAX, GATED_MOVES_NAMED_MAX, GATED_PAGES_MAX, GATED_REQUESTS_MAX, OVERRIDE_REASON_BYTES_MAX,
};
use crate::reporting::GatesForm;
use crate::sql::ReplayRuns;

const DAY_MS: u64 = 24 * 3_600_000;
/// What was served longer ago is no traffic that a change moves.
const DAYS: u64 = 30;
const OVERRIDE: &str = "override_reason";

/// Describes that a change is gated, and what an owner sends to make it all the same.
pub fn gated(route: Route) -> Route {
    route
        .query(
            OVERRIDE,
            "Owners only: the reason for making the change without a report on the node that requests move to.",
        )
        .refuses(409, "replay_required")
        .refuses(409, "rules_changed")
}

/// A change of the rules: the workspace as it is, and as it would be. Several where requests are divided among them.
pub struct Moving<'a> {
    /// As the database has it: a change of it in the meantime makes the write start again.
    pub snapshot: &'a Snapshot,
    pub before: &'a WorkspaceEntry,
    pub after: Vec<WorkspaceEntry>,
    /// Only requests that pass one of these are concerned. Those of each are sampled for themselves, so that the newest requests of
    /// others don't hide them.
    pub concerned: Vec<RequestFilter>,
    /// What is changed, for the audit.
    pub object: &'a str,
}

/// Requests of a model that would go to a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Move {
    model: String,
    /// `None` where no replay can be about them.
    kind: Option<ReplayKind>,
    node: NodeId,
    upstream_model: String,
}

/// How many of those that were planned, and of all of the model.
#[derive(Debug, Clone, Copy, Default)]
struct Moved {
    requests: u64,
    planned: u64,
    of_model: u64,
}

/// Refuses a change that moves requests of the last 30 days from others onto a node, until a report that holds says that the node
/// keeps to the workspace's gates, or an owner says why it is made all the same. What it returns goes with the change: it is written
/// only on top of the rules that were read, and while the reports hold.
///
/// # Errors
/// 409 with what would move, 403 for an override of somebody else than an owner; the database does not answer.
pub async fn check_move(
    control: &Control,
    request: &ApiRequest,
    moving: &Moving<'_>,
) -> Result<Premise, Box<Fault>> {
    let workspace = request.workspace();
    let version = moving.snapshot.version();
    let premise = Premise { workspace, version, until_unix_ms: None, noted: None };
    if moving.after.iter().all(|after| after.nodes.is_empty()) {
        return Ok(premise);
    }
    let settings = ReplayRuns::of(&control.deps.store).gates(workspace).await.map_err(of_store)?;
    if !settings.is_gated {
        return Ok(premise);
    }
    let moves = moves(control, workspace, moving).await?;
    if moves.is_empty() {
        return Ok(premise);
    }
    let reports = reports_that_hold(control, workspace, &settings.gates).await?;
    let covered_until = |one: &Move| {
        reports.iter().filter(|report| report.covers(one)).map(|report| report.expires_unix_ms).max()
    };
    let open: Vec<_> = moves.iter().filter(|(one, _)| covered_until(one).is_none()).collect();
    let until_unix_ms = moves.iter().filter_map(|(one, _)| covered_until(one)).min();
    let premise = Premise { until_unix_ms, ..premise };
    if open.is_empty() {
        return Ok(premise);
    }
    let Some(reason) = override_reason(request)? else { return Err(required(&open, moving.before)) };
    let sentences: Vec<String> =
        open.iter().take(GATED_MOVES_NAMED_MAX).map(|(one, moved)| sentence(one, moved)).collect();
    let world = &control.deps.world;
    let noted = Noted {
        id: AuditId::new(world.clock.unix_ms(), world.id_bytes()),
        action: "replay.override",
        object: moving.object.to_owned(),
        detail: format!("{reason} ({})", sentences.join("; ")),
    };
    Ok(Premise { noted: Some(noted), ..premise })
}

fn override_reason(request: &ApiRequest) -> Result<Option<&str>, Box<Fault>> {
    let Some(text) = request.query.get(OVERRIDE) else { return Ok(None) };
    let rank = request.caller.rank();
    if !rank.covers(Role::Owner) {
        return Err(insufficient_role(Role::Owner.as_str(), rank));
    }
    let text = text.trim();
    if text.is_empty() || text.len() > OVERRIDE_REASON_BYTES_MAX {
        let message = format!("{OVERRIDE} has {} bytes.", text.len());
        let fix = format!("Say in 1 to {OVERRIDE_REASON_BYTES_MAX} bytes why there is no report.");
        return Err(invalid(OVERRIDE, message, fix));
    }
    Ok(Some(text))
}

/// What the change would move: of each model that others served, a sample of the newest requests is planned under both rules.
async fn moves(
    control: &Control,
    workspace: WorkspaceId,
    moving: &Moving<'_>,
) -> Result<Vec<(Move, Moved)>, Box<Fault>> {
    let now = control.deps.world.clock.unix_ms();
    let since = now.saturating_sub(DAYS * DAY_MS);
    let window = Window { start_unix_ms: since, end_unix_ms: now + DAY_MS };
    let mut samples = Vec::new();
    for concerned in &moving.concerned {
        let filter = RequestFilter { since_unix_ms: Some(since), ..concerned.clone() };
        if filter.alias.is_some() || filter.model.is_some() {
            samples.push((filter, None));
            continue;
        }
        let models = models(control, workspace, window, &filter).await?;
        samples.extend(models.into_iter().map(|(model, requests)| {
            (RequestFilter { model: Some(model), ..filter.clone() }, Some(requests))
        }));
    }
    let rules = Rules::of(moving);
    let mut found: BTreeMap<Move, Moved> = BTreeMap::new();
    let mut planned: HashSet<TraceId> = HashSet::new();
    for (filter, of_model) in samples {
        let mut records = newest(control, workspace, filter).await?;
        records.retain(|record| planned.insert(record.trace));
        let times = (control.deps.world.clock.monotonic_us(), now);
        for record in &records {
            for one in rules.moves(record, times) {
                let moved = found.entry(one).or_default();
                moved.requests += 1;
                moved.planned = moved.planned.max(records.len() as u64);
                moved.of_model = moved.of_model.max(of_model.unwrap_or(records.len() as u64));
            }
        }
        // The runtime serves others, too.
        tokio::task::yield_now().await;
    }
    Ok(found.into_iter().collect())
}

/// The models that others than nodes served for those that a filter is about, the ones with the most requests first.
async fn models(
    control: &Control,
    workspace: WorkspaceId,
    window: Window,
    of: &RequestFilter,
) -> Result<Vec<(String, u64)>, Box<Fault>> {
    let filter = UsageFilter {
        project: of.project,
        key: of.key,
        environment: of.environment.clone(),
        tag: of.tag.clone(),
        ..UsageFilter::default()
    };
    let query = UsageQuery {
        workspace,
        window,
        group_by: vec![Dimension::Model, Dimension::Profile],
        interval: None,
        filter,
    };
    let rows = control.deps.store.records().usage(query).await.map_err(of_store)?;
    let mut models: BTreeMap<String, u64> = BTreeMap::new();
    for row in rows {
        let of = |dimension| {
            let group = row.groups.iter().find(|(of, _)| *of == dimension);
            group.and_then(|(_, value)| value.clone())
        };
        let is_other = of(Dimension::Profile).is_some_and(|profile| profile != Profile::Byoc.as_str());
        if let Some(model) = of(Dimension::Model).filter(|_| is_other) {
            *models.entry(model).or_default() += row.sums.requests;
        }
    }
    let mut models: Vec<_> = models.into_iter().filter(|(_, requests)| *requests > 0).collect();
    models.sort_by_key(|(_, requests)| std::cmp::Reverse(*requests));
    models.truncate(GATED_MODELS_MAX);
    Ok(models)
}

/// The newest requests of a filter that others than nodes served for somebody.
async fn newest(
    control: &Control,
    workspace: WorkspaceId,
    filter: RequestFilter,
) -> Result<Vec<MeterRecord>, Box<Fault>> {
    let mut found: Vec<MeterRecord> = Vec::new();
    let mut page = Page::first(PAGE_ROWS_MAX);
    for _ in 0..GATED_PAGES_MAX {
        let listed = control.deps.store.records().matching(workspace, filter.clone(), page).await;
        let listed = listed.map_err(of_store)?;
        let is_moved = |record: &MeterRecord| is_elsewhere(record) && record.extras.side_call.is_none();
        found.extend(listed.rows.into_iter().filter(is_moved));
        let Some(next) = listed.next.filter(|_| found.len() < GATED_REQUESTS_MAX as usize) else { break };
        page = Page { limit: PAGE_ROWS_MAX, after: Some(next) };
    }
    found.truncate(GATED_REQUESTS_MAX as usize);
    Ok(found)
}

/// Both rules, with every node ready: a change that is made while a node is away moves requests once it is back.
struct Rules<'a> {
    snapshot: &'a Snapshot,
    before: WorkspaceEntry,
    after: Vec<Variant>,
}

struct Variant {
    rules: WorkspaceEntry,
    /// The same, where every request fulfils the conditions of routes that are new: records don't keep all that they depend on.
    loose: WorkspaceEntry,
}

impl<'a> Rules<'a> {
    fn of(moving: &Moving<'a>) -> Self {
        let variant = |after: &WorkspaceEntry| {
            let loose = with_loose_routes(moving.before, after);
            Variant { rules: with_ready_nodes(after), loose: with_ready_nodes(&loose) }
        };
        Self {
            snapshot: moving.snapshot,
            before: with_ready_nodes(moving.before),
            after: moving.after.iter().map(variant).collect(),
        }
    }

    /// Where a request that others serve now would go, if that is a node.
    fn moves(&self, record: &MeterRecord, (now_us, now_unix_ms): (u64, u64)) -> Vec<Move> {
        let Ok(stored) = StoredRequest::new(record, &self.before) else { return Vec::new() };
        let world = ReplayWorld { snapshot: self.snapshot, board: &AllOpen, now_us, now_unix_ms };
        let before = stored.plan(&self.before, world);
        if node_of(&before).is_some() {
            return Vec::new();
        }
        let of_variant = |variant: &Variant| {
            // Of the project as it would be: its policy may be what changes.
            let stored = StoredRequest::new(record, &variant.rules).ok()?;
            let after = stored.plan(&variant.rules, world);
            let moved = node_of(&after);
            if moved.is_some() || after.undecided.is_empty() {
                return moved;
            }
            node_of(&stored.plan(&variant.loose, world))
        };
        let mut moves: Vec<Move> = self
            .after
            .iter()
            .filter_map(of_variant)
            .map(|(node, upstream_model)| Move {
                model: record.resolved_model.clone(),
                kind: kind_of(record.operation),
                node,
                upstream_model,
            })
            .collect();
        moves.sort();
        moves.dedup();
        moves
    }
}

fn node_of(replayed: &Replayed<'_>) -> Option<(NodeId, String)> {
    let attempt = replayed.attempt.as_ref()?;
    match attempt.principal() {
        Principal::Node(node) => Some((node, attempt.upstream_model().to_owned())),
        _ => None,
    }
}

fn with_ready_nodes(workspace: &WorkspaceEntry) -> WorkspaceEntry {
    let ready = |node: &Arc<snapshot::NodeEntry>| {
        if node.state == NodeState::Ready {
            return Arc::clone(node);
        }
        Arc::new(snapshot::NodeEntry { state: NodeState::Ready, ..(**node).clone() })
    };
    WorkspaceEntry { nodes: workspace.nodes.iter().map(ready).collect(), ..workspace.clone() }
}

/// A new route without its conditions takes the place of others of its scope.
fn with_loose_routes(before: &WorkspaceEntry, after: &WorkspaceEntry) -> WorkspaceEntry {
    let is_new = |route: &Arc<RouteEntry>| !before.routes.contains(route);
    let is_replaced = |route: &Arc<RouteEntry>| {
        after.routes.iter().any(|other| is_new(other) && other.spec.scope == route.spec.scope)
    };
    let mut routes: Vec<Arc<RouteEntry>> =
        after.routes.iter().filter(|route| !is_replaced(route)).cloned().collect();
    for route in after.routes.iter().filter(|route| is_new(route)) {
        let mut loose = (**route).clone();
        loose.spec.when = RouteConditions::default();
        routes.push(Arc::new(loose));
    }
    WorkspaceEntry { routes, ..after.clone() }
}

/// What a report that holds says.
pub struct HeldReport {
    kind: ReplayKind,
    /// Those of which as many requests were replayed as the gates say.
    models: Vec<String>,
    served_by: Vec<(String, String)>,
    expires_unix_ms: u64,
}

impl HeldReport {
    fn covers(&self, one: &Move) -> bool {
        let node = one.node.to_string();
        let is_its =
            |(principal, upstream): &(String, String)| *principal == node && *upstream == one.upstream_model;
        one.kind == Some(self.kind) && self.models.contains(&one.model) && self.served_by.iter().any(is_its)
    }

    /// Whether it is about requests of this model.
    pub fn is_about(&self, model: &str) -> bool {
        self.models.iter().any(|one| one == model)
    }
}

/// The reports of a workspace that passed gates as strict as these, are signed here, and have not expired.
pub async fn reports_that_hold(
    control: &Control,
    workspace: WorkspaceId,
    gates: &Gates,
) -> Result<Vec<HeldReport>, Box<Fault>> {
    let now = control.deps.world.clock.unix_ms();
    let texts = ReplayRuns::of(&control.deps.store).passed_reports(workspace, now).await.map_err(of_store)?;
    let key = control.deps.auditor.public_key();
    let held = texts.iter().filter_map(|text| {
        let report = document::read(text.as_bytes()).ok()?;
        document::verify(&report, Some(key)).ok()?;
        held(&report, workspace, gates, now)
    });
    Ok(held.collect())
}

/// What the signed document itself says: the columns beside it are no evidence.
fn held(report: &Map<String, Value>, workspace: WorkspaceId, gates: &Gates, now: u64) -> Option<HeldReport> {
    let text = |name: &str| report.get(name).and_then(Value::as_str);
    let own: GatesForm = serde_json::from_value(report.get("gates")?.clone()).ok()?;
    let expires_unix_ms = report.get("expires_unix_ms")?.as_u64()?;
    let is_held = text("object") == Some("replay_report")
        && text("verdict") == Some(Verdict::Passed.as_str())
        && text("workspace_id") == Some(workspace.to_string().as_str())
        && expires_unix_ms > now
        && own.gates().are_as_strict_as(gates);
    if !is_held {
        return None;
    }
    let replayed = report.get("set")?.get("models")?.as_object()?;
    let is_enough = |requests: &Value| requests.as_u64() >= Some(gates.requests_min.into());
    let models =
        replayed.iter().filter(|(_, requests)| is_enough(requests)).map(|(model, _)| model.clone()).collect();
    // Reports of earlier versions are about conversations.
    let kind = report.get("set")?.get("operation").map(|word| serde_json::from_value(word.clone()).ok());
    let kind = kind.unwrap_or(Some(ReplayKind::Chat))?;
    let served = report.get("candidate")?.get("served_by")?.as_array()?;
    let of = |one: &Value| {
        let field = |name| one.get(name).and_then(Value::as_str).map(str::to_owned);
        Some((field("principal")?, field("upstream_model")?))
    };
    Some(HeldReport { kind, models, served_by: served.iter().filter_map(of).collect(), expires_unix_ms })
}

fn sentence(one: &Move, moved: &Moved) -> String {
    let Move { model, node, upstream_model, .. } = one;
    let Moved { requests, planned, of_model } = moved;
    let percent = requests * 100 / (*planned).max(1);
    format!(
        "{percent} % of {model} ({requests} of the newest {planned} requests, {of_model} in {DAYS} days) to {upstream_model} on {node}"
    )
}

fn required(open: &[&(Move, Moved)], before: &WorkspaceEntry) -> Box<Fault> {
    let sentences: Vec<String> =
        open.iter().take(GATED_MOVES_NAMED_MAX).map(|(one, moved)| sentence(one, moved)).collect();
    let more = open.len().saturating_sub(GATED_MOVES_NAMED_MAX);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    let message = format!(
        "This moves requests that others served onto nodes, and no report that holds says that they keep to the gates: {}{more}.",
        sentences.join("; ")
    );
    let fix = open.first().map_or_else(String::new, |(one, _)| fix_of(one, before));
    let fix = format!("{fix}; an owner may send it with ?{OVERRIDE}=… instead.");
    Box::new(Fault::new(FaultClass::Conflict, "replay_required", message).fix(fix))
}

/// A node that serves the model already can be tried. One that would only serve it after the change can be tried once it does, and
/// does without moving anything while the routes leave nodes out.
fn fix_of(one: &Move, before: &WorkspaceEntry) -> String {
    let Move { model, kind, node, upstream_model } = one;
    let Some(kind) = kind else {
        return format!(
            "Requests to {model} of this kind can't be replayed: keep them from the node with a route for them"
        );
    };
    let serves =
        |entry: &Arc<snapshot::NodeEntry>| entry.id == *node && entry.models.contains(upstream_model);
    if before.nodes.iter().any(serves) {
        let operation = match kind {
            ReplayKind::Chat => String::new(),
            other => format!(", \"operation\": \"{}\"", other.as_str()),
        };
        return format!(
            "POST /v2/replay-runs with {{\"from\": {{\"model\": \"{model}\"{operation}}}, \"candidate\": {{\"node_id\": \"{node}\", \"model\": \
             \"{upstream_model}\"}}}}, and send this again once its report has passed"
        );
    }
    format!(
        "Give {model} a route whose profiles leave byoc out, send this again, run a replay against the node, and change the route \
         once its report has passed"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: u64 = 1_000;

    fn workspace() -> WorkspaceId {
        WorkspaceId::new(1, [1; 10])
    }

    fn node() -> NodeId {
        NodeId::new(1, [2; 10])
    }

    fn report() -> Value {
        let served =
            json!([{"principal": node().to_string(), "upstream_model": "publisher/model", "requests": 9}]);
        json!({
            "object": "replay_report", "workspace_id": workspace().to_string(), "verdict": "passed",
            "expires_unix_ms": NOW + 1, "gates": GatesForm::default(),
            "set": {"models": {"other/model": 200, "rare/model": 199}},
            "candidate": {"served_by": served},
        })
    }

    fn held_of(change: impl Fn(&mut Value), gates: &Gates, now: u64) -> Option<HeldReport> {
        let mut report = report();
        change(&mut report);
        held(report.as_object().unwrap(), workspace(), gates, now)
    }

    #[test]
    fn a_report_holds_for_its_workspace_until_it_expires() {
        let (gates, same) = (Gates::default(), |_: &mut Value| {});
        assert!(held_of(same, &gates, NOW).is_some());
        assert!(held_of(same, &gates, NOW + 1).is_none(), "it has expired");
        let stricter = Gates { error_bps_max: Some(1), ..gates };
        assert!(held_of(same, &stricter, NOW).is_none(), "the workspace has stricter gates now");
        for (field, value) in [
            ("verdict", json!("inconclusive")),
            ("workspace_id", json!(WorkspaceId::new(2, [2; 10]).to_string())),
            ("object", json!("diagnostics_report")),
            ("expires_unix_ms", json!(null)),
            ("gates", json!(null)),
        ] {
            assert!(held_of(|report| report[field] = value.clone(), &gates, NOW).is_none(), "{field}");
        }
    }

    #[test]
    fn a_report_covers_its_models_on_the_nodes_that_answered() {
        let held = held_of(|_| {}, &Gates::default(), NOW).unwrap();
        let covers = |model: &str, node: NodeId, upstream: &str| {
            let (model, upstream_model) = (model.to_owned(), upstream.to_owned());
            held.covers(&Move { model, kind: Some(ReplayKind::Chat), node, upstream_model })
        };
        assert!(covers("other/model", node(), "publisher/model") && held.is_about("other/model"));
        assert!(!covers("third/model", node(), "publisher/model"));
        assert!(
            !covers("rare/model", node(), "publisher/model"),
            "a few requests among others are no evidence"
        );
        assert!(!covers("other/model", NodeId::new(1, [3; 10]), "publisher/model"));
        assert!(!covers("other/model", node(), "publisher/larger"));
    }

    #[test]
    fn a_report_covers_requests_of_its_operation() {
        let of = |operation: &str| {
            let report =
                held_of(|report| report["set"]["operation"] = json!(operation), &Gates::default(), NOW);
            let report = report.unwrap();
            let covers = |kind| {
                let (model, upstream_model) = ("other/model".to_owned(), "publisher/model".to_owned());
                report.covers(&Move { model, kind, node: node(), upstream_model })
            };
            [None, Some(ReplayKind::Chat), Some(ReplayKind::Embed)].map(covers)
        };
        assert_eq!(of("chat"), [false, true, false]);
        assert_eq!(of("embed"), [false, false, true]);
    }
}
