//! `/v2/byoc/costs`: what own hardware costs by node, model and adapter, and what providers would charge for the same tokens.
//! A report: nothing of it is booked or owed to anybody.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::access::Access;
use api::failure::invalid;
use api::moment::Moment;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use catalogue::{Catalogue, Model};
use domain::limits::PAGE_ROWS_MAX;
use domain::{Fault, Mode, Nanos, NodeId, WorkspaceId};
use hardware::{Counts, HOUR_MS, HardwareCost, HardwareSpent, LongWork, Work, per_million};
use http::Method;
use reconcilers::of_store;
use schemars::JsonSchema;
use serde::Serialize;
use store::{Dimension, NodeRow, Page, UsageFilter, UsageQuery, Window};

use crate::usage;

pub fn routes() -> Vec<Route> {
    let about = |route: Route| {
        route
            .query("window", "`24h`, `7d`, `30d` (the default) or `month`.")
            .query("start", "The start of the window, instead of `window`; rounded down to a whole hour.")
            .query("end", "The end of the window; by default now.")
            .query(
                "compare",
                "A model of the catalogue whose prices stand beside models that the catalogue does not know.",
            )
    };
    vec![
        about(Route::new(Method::GET, "/v2/byoc/costs", Access::LOOK, fleet))
            .says("Compares the cost of your own hardware, by node, model and adapter, with providers' prices for the same tokens.")
            .returns_value::<FleetCosts>(),
        about(Route::new(Method::GET, "/v2/byoc/nodes/{id}/costs", Access::LOOK, one))
            .says("Shows the same of one node.")
            .returns_value::<FleetCosts>(),
    ]
}

/// What own hardware costs over a window. It is not part of any bill.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "HardwareCosts")]
struct FleetCosts {
    object: &'static str,
    start: Moment,
    end: Moment,
    /// Of the nodes whose cost is stated.
    total: Spending,
    nodes: Vec<NodeCosts>,
    /// The same by model and adapter, over all nodes.
    models: Vec<ModelCosts>,
}

/// Tokens, and what the hardware that served them cost.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "HardwareSpending")]
struct Spending {
    requests: u64,
    input_tokens: u64,
    /// Of the input tokens.
    cached_tokens: u64,
    output_tokens: u64,
    /// Null if the cost of no node is stated.
    hardware_cost_micros: Option<i64>,
    /// The blended cost: of a million tokens, in and out. Null without tokens or a stated cost.
    micros_per_million_tokens: Option<i64>,
}

/// One node over the window.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NodeHardwareCosts")]
struct NodeCosts {
    node_id: String,
    name: String,
    cost: Option<HardwareCost>,
    #[serde(flatten)]
    spending: Spending,
    /// Its price by the hour, or the part of its price that falls into the window.
    machine_micros: Option<i64>,
    power_micros: Option<i64>,
    /// `stated` is by watts, `measured` by the node's counters, `unknown` where power has a price and neither is known, and
    /// `not_counted` where it has none.
    #[schemars(extend("enum" = ["stated", "measured", "unknown", "not_counted", null]))]
    power_by: Option<&'static str>,
    hours_up: f64,
    /// The share of its uptime in which it was answering; null for a node that doesn't count it.
    utilisation: Option<f64>,
    /// Of its processors and their memory, if it was measured all the time.
    energy_wh: Option<f64>,
    wh_per_million_tokens: Option<f64>,
    tokens_per_day: Option<u64>,
    /// What it would serve per day if it were always as busy as it was while it was busy.
    tokens_per_busy_day: Option<u64>,
    models: Vec<ModelCosts>,
}

/// One model, with one adapter or none. A node's cost is shared among its models by the time that their requests took, or by
/// tokens where that is not known.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ModelHardwareCosts")]
struct ModelCosts {
    model: String,
    adapter: Option<String>,
    #[serde(flatten)]
    spending: Spending,
    /// Every provider with a price for the model, the cheapest first.
    providers: Vec<ProviderCosts>,
}

/// What a provider would have charged for the same tokens: at its list price, that for long prompts included, with as many of them
/// cached.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ProviderHardwareCosts")]
struct ProviderCosts {
    provider: String,
    /// The model whose price it is.
    model: String,
    would_cost_micros: i64,
    micros_per_million_tokens: Option<i64>,
    /// With as many tokens a day, in the same mix, both cost the same. With fewer the provider is cheaper.
    break_even_tokens_per_day: Option<u64>,
}

/// What a node did within the window.
struct NodeYield<'r> {
    row: &'r NodeRow,
    period_ms: u64,
    counts: Counts,
    spent: Option<HardwareSpent>,
    /// By model and adapter, with their shares of the cost.
    served: Vec<(ModelName, Work, Option<Nanos>)>,
    /// The part of it whose prompts had more tokens than some provider's price is for.
    long: BTreeMap<(u64, ModelName), Work>,
}

type ModelName = (String, Option<String>);

struct Prices<'c> {
    catalogue: &'c Catalogue,
    compare: Option<&'c Model>,
}

async fn fleet(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let rows = nodes(control, request.workspace()).await?;
    answer(control, &request, &rows).await
}

async fn one(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row = control.deps.store.nodes().get(request.workspace(), request.id("node")?).await;
    answer(control, &request, &[row.map_err(of_store)?]).await
}

async fn answer(control: &Control, request: &ApiRequest, rows: &[NodeRow]) -> Result<Reply, Box<Fault>> {
    let now = control.deps.world.clock.unix_ms();
    let window = usage::window(request, now)?;
    let window = Window {
        start_unix_ms: window.start_unix_ms - window.start_unix_ms % HOUR_MS,
        end_unix_ms: window.end_unix_ms.min(now),
    };
    if window.start_unix_ms >= window.end_unix_ms {
        return Err(invalid("start", "The window has not begun yet.", "Give a start in the past."));
    }
    let snapshot = control.deps.keeper.current();
    let prices = Prices::of(snapshot.catalogue(), request.query.get("compare"))?;
    let yields = yields(control, request.workspace(), window, rows, &prices).await?;
    Reply::json(&FleetCosts {
        object: "byoc_costs",
        start: Moment(window.start_unix_ms),
        end: Moment(window.end_unix_ms),
        total: total(&yields),
        nodes: yields.iter().map(|node| show_node(node, &prices)).collect(),
        models: by_model(&yields, &prices),
    })
}

/// What the hardware of each node cost over a window, for the usage report; nodes without a stated cost are left out.
pub async fn by_node(
    control: &Control,
    workspace: WorkspaceId,
    window: Window,
) -> Result<BTreeMap<NodeId, Nanos>, Box<Fault>> {
    let window = Window { end_unix_ms: window.end_unix_ms.min(control.deps.world.clock.unix_ms()), ..window };
    let rows = nodes(control, workspace).await?;
    if rows.iter().all(|row| row.cost.is_none()) {
        return Ok(BTreeMap::new());
    }
    let counted = control.deps.store.node_hours().counts(workspace, window).await.map_err(of_store)?;
    let counted: BTreeMap<NodeId, Counts> = counted.into_iter().collect();
    let costs = rows.iter().filter_map(|row| {
        let counts = counted.get(&row.id).copied().unwrap_or_default();
        Some((row.id, row.cost?.over(period_ms(row, window), &counts).total()))
    });
    Ok(costs.collect())
}

async fn nodes(control: &Control, workspace: WorkspaceId) -> Result<Vec<NodeRow>, Box<Fault>> {
    let mut page = Page::first(PAGE_ROWS_MAX);
    let mut rows = Vec::new();
    loop {
        let listed = control.deps.store.nodes().list(workspace, page).await.map_err(of_store)?;
        let next = listed.next;
        rows.extend(listed.rows);
        match next {
            Some(after) => page = Page { limit: PAGE_ROWS_MAX, after: Some(after) },
            None => return Ok(rows),
        }
    }
}

/// The part of a window in which a node existed.
fn period_ms(row: &NodeRow, window: Window) -> u64 {
    window.end_unix_ms.saturating_sub(window.start_unix_ms.max(row.created_unix_ms))
}

async fn yields<'r>(
    control: &Control,
    workspace: WorkspaceId,
    window: Window,
    rows: &'r [NodeRow],
    prices: &Prices<'_>,
) -> Result<Vec<NodeYield<'r>>, Box<Fault>> {
    let hours = control.deps.store.node_hours();
    let counted = hours.counts(workspace, window).await.map_err(of_store)?;
    let counted: BTreeMap<NodeId, Counts> = counted.into_iter().collect();
    let mut served: BTreeMap<NodeId, Vec<(ModelName, Work)>> = BTreeMap::new();
    for work in hours.work(workspace, window).await.map_err(of_store)? {
        served.entry(work.node).or_default().push(((work.model, work.adapter), work.work));
    }
    // A node that does not report itself is known by the gateway's own records.
    let is_silent = |id: &NodeId| rows.iter().any(|row| row.id == *id && row.joined.is_none());
    for (node, model, work) in sent(control, workspace, window).await? {
        if is_silent(&node) {
            served.entry(node).or_default().push(((model, None), work));
        }
    }
    let models = served.values().flatten().filter_map(|((model, _), _)| prices.known(model));
    let offers = models.flat_map(|model| model.offers.iter());
    let ends = offers.filter_map(|offer| Some(offer.long_prompt.as_ref()?.above_tokens)).collect();
    let mut long = long_work(control, workspace, window, ends).await?;
    let yields = rows.iter().map(|row| {
        let counts = counted.get(&row.id).copied().unwrap_or_default();
        let period_ms = period_ms(row, window);
        let spent = row.cost.map(|cost| cost.over(period_ms, &counts));
        let served = served.remove(&row.id).unwrap_or_default();
        let shares = spent.map(|spent| hardware::split(spent.total(), &weights(&served)));
        let served = served.into_iter().enumerate().map(|(place, (model, work))| {
            let share = shares.as_ref().and_then(|shares| shares.get(place)).copied();
            (model, work, share)
        });
        let long = long.remove(&row.id).unwrap_or_default();
        NodeYield { row, period_ms, counts, spent, served: served.collect(), long }
    });
    Ok(yields.collect())
}

type LongWorkByNode = BTreeMap<NodeId, BTreeMap<(u64, ModelName), Work>>;

/// What nodes served of prompts that are longer than prices are for, by where these end.
async fn long_work(
    control: &Control,
    workspace: WorkspaceId,
    window: Window,
    ends: BTreeSet<u64>,
) -> Result<LongWorkByNode, Box<Fault>> {
    let mut by_node = LongWorkByNode::new();
    for above_tokens in ends {
        let hours = control.deps.store.node_hours();
        for found in hours.long_work(workspace, window, above_tokens).await.map_err(of_store)? {
            let key = (above_tokens, (found.model, found.adapter));
            by_node.entry(found.node).or_default().insert(key, found.work);
        }
    }
    Ok(by_node)
}

fn weights(served: &[(ModelName, Work)]) -> Vec<u64> {
    let is_timed = served.iter().all(|(_, work)| work.took_ms > 0);
    served.iter().map(|(_, work)| if is_timed { work.took_ms } else { work.tokens() }).collect()
}

/// What this gateway's records say of nodes.
async fn sent(
    control: &Control,
    workspace: WorkspaceId,
    window: Window,
) -> Result<Vec<(NodeId, String, Work)>, Box<Fault>> {
    let query = UsageQuery {
        workspace,
        window,
        group_by: vec![Dimension::Node, Dimension::Model],
        interval: None,
        filter: UsageFilter { mode: Some(Mode::Byoc), ..UsageFilter::default() },
    };
    let rows = control.deps.store.records().usage(query).await.map_err(of_store)?;
    let sums = rows.into_iter().filter_map(|row| {
        let mut groups = row.groups.into_iter().map(|(_, value)| value);
        let node = groups.next()??.parse().ok()?;
        let work = Work {
            requests: row.sums.requests,
            input_tokens: row.sums.input_tokens,
            cached_tokens: row.sums.cached_tokens,
            output_tokens: row.sums.output_tokens,
            took_ms: 0,
        };
        Some((node, groups.next()??, work))
    });
    Ok(sums.collect())
}

fn spending(work: &Work, cost: Option<Nanos>) -> Spending {
    Spending {
        requests: work.requests,
        input_tokens: work.input_tokens,
        cached_tokens: work.cached_tokens,
        output_tokens: work.output_tokens,
        hardware_cost_micros: cost.map(Nanos::micros),
        micros_per_million_tokens: cost.and_then(|cost| per_million(cost, work.tokens())).map(Nanos::micros),
    }
}

impl NodeYield<'_> {
    fn work(&self) -> Work {
        let mut sum = Work::default();
        self.served.iter().for_each(|(_, work, _)| sum.plus(work));
        sum
    }

    fn long_work(&self, above_tokens: u64, model: &ModelName) -> Work {
        self.long.get(&(above_tokens, model.clone())).copied().unwrap_or_default()
    }
}

fn total(yields: &[NodeYield<'_>]) -> Spending {
    let (mut work, mut cost) = (Work::default(), None);
    for node in yields {
        let Some(spent) = node.spent else { continue };
        work.plus(&node.work());
        cost = Some(cost.unwrap_or(Nanos::ZERO).plus(spent.total()));
    }
    spending(&work, cost)
}

fn show_node(node: &NodeYield<'_>, prices: &Prices<'_>) -> NodeCosts {
    let (work, counts) = (node.work(), &node.counts);
    let energy_wh = counts.energy_mj().map(watt_hours);
    let models = node.served.iter().map(|(name, work, share)| ModelCosts {
        model: name.0.clone(),
        adapter: name.1.clone(),
        spending: spending(work, *share),
        providers: prices
            .providers(&name.0, (*share, node.period_ms), work, |above| node.long_work(above, name)),
    });
    NodeCosts {
        node_id: node.row.id.to_string(),
        name: node.row.name.clone(),
        cost: node.row.cost,
        spending: spending(&work, node.spent.map(HardwareSpent::total)),
        machine_micros: node.spent.map(|spent| spent.machine.micros()),
        power_micros: node.spent.and_then(|spent| spent.power.cost()).map(Nanos::micros),
        power_by: node.spent.map(|spent| spent.power.as_str()),
        hours_up: counts.up_ms as f64 / HOUR_MS as f64,
        utilisation: counts.busy_permille().map(|permille| permille as f64 / 1_000.0),
        energy_wh,
        wh_per_million_tokens: energy_wh
            .filter(|_| work.tokens() > 0)
            .map(|energy_wh| energy_wh * 1e6 / work.tokens() as f64),
        tokens_per_day: work.tokens_per_day(node.period_ms),
        tokens_per_busy_day: work.tokens_per_busy_day(counts),
        models: models.collect(),
    }
}

/// To a tenth of a watt-hour.
fn watt_hours(energy_mj: u64) -> f64 {
    (energy_mj / 360_000) as f64 / 10.0
}

/// The models of all nodes whose cost is stated, and those of the others.
fn by_model(yields: &[NodeYield<'_>], prices: &Prices<'_>) -> Vec<ModelCosts> {
    let mut sums: BTreeMap<&ModelName, (Work, Option<Nanos>, u64)> = BTreeMap::new();
    for node in yields {
        for (model, work, share) in &node.served {
            let (sum, cost, period_ms) = sums.entry(model).or_default();
            sum.plus(work);
            *cost = share.map(|share| cost.unwrap_or(Nanos::ZERO).plus(share)).or(*cost);
            *period_ms = (*period_ms).max(node.period_ms);
        }
    }
    let long_work = |above, name: &ModelName| {
        let mut sum = Work::default();
        yields.iter().for_each(|node| sum.plus(&node.long_work(above, name)));
        sum
    };
    let models = sums.into_iter().map(|(name, (work, cost, period_ms))| ModelCosts {
        model: name.0.clone(),
        adapter: name.1.clone(),
        spending: spending(&work, cost),
        providers: prices.providers(&name.0, (cost, period_ms), &work, |above| long_work(above, name)),
    });
    models.collect()
}

impl<'c> Prices<'c> {
    fn of(catalogue: &'c Catalogue, compare: Option<&String>) -> Result<Self, Box<Fault>> {
        let unknown = |name: &str| {
            let message = format!("The catalogue has no model \"{name}\".");
            invalid("compare", message, "Give a full name of `tidegate models list`.")
        };
        let compare = compare.map(|name| find(catalogue, name).ok_or_else(|| unknown(name))).transpose()?;
        Ok(Self { catalogue, compare })
    }

    /// Whose prices a model's work is compared with.
    fn known(&self, model: &str) -> Option<&'c Model> {
        find(self.catalogue, model).or(self.compare)
    }

    /// What every provider would have charged. Without a stated cost there is no break-even. `long_work` is the part of the work
    /// with prompts of more tokens.
    fn providers(
        &self,
        model: &str,
        (cost, period_ms): (Option<Nanos>, u64),
        work: &Work,
        long_work: impl Fn(u64) -> Work,
    ) -> Vec<ProviderCosts> {
        let Some(known) = self.known(model) else { return Vec::new() };
        let compared = known.offers.iter().filter_map(|offer| {
            let rates = offer.rates.as_ref()?;
            let long = offer.long_prompt.as_ref();
            let long = long.map(|long| LongWork { work: long_work(long.above_tokens), rates: &long.rates });
            let found = hardware::compare(cost.unwrap_or_default(), period_ms, work, rates, long);
            Some(ProviderCosts {
                provider: offer.provider.clone(),
                model: known.full.to_string(),
                would_cost_micros: found.cost.micros(),
                micros_per_million_tokens: found.per_million.map(Nanos::micros),
                break_even_tokens_per_day: cost.and(found.break_even_tokens_per_day),
            })
        });
        let mut providers: Vec<_> = compared.collect();
        providers.sort_by(|a, b| (a.would_cost_micros, &a.provider).cmp(&(b.would_cost_micros, &b.provider)));
        providers
    }
}

/// A model by its full name, or by a bare one that only one publisher has.
fn find<'c>(catalogue: &'c Catalogue, name: &str) -> Option<&'c Model> {
    catalogue.model(name).or_else(|| match catalogue.by_bare_name(name).as_slice() {
        [only] => Some(*only),
        _ => None,
    })
}
