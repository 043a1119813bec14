//! `GET /v2/diagnostics/escalation`: for which models own hardware would pay, and what to do next.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::access::Access;
use api::failure::{invalid, missing};
use api::moment::Moment;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::{Fault, Profile};
use http::Method;
use reconcilers::of_store;
use replay::{Escalation, Hardware, NextStep, Spend, escalation};
use schemars::JsonSchema;
use serde::Serialize;
use store::{Dimension, UsageFilter, UsageQuery, Window};

use crate::gate::reports_that_hold;
use crate::sql::ReplayRuns;

const DAY_MS: u64 = 24 * 3_600_000;
const DAYS: u64 = 30;
const COST: &str = "cost_per_hour_micros";
const SPEED: &str = "tokens_per_second";

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/v2/diagnostics/escalation", Access::LOOK, get)
            .says("Shows for which models that others serve own hardware would pay, and what to do next.")
            .query(COST, "The hourly cost of a machine that serves the model, in millionths of a dollar.")
            .query(SPEED, "The prompt and answer tokens that it handles per second. Without it, one machine is assumed to carry everything.")
            .returns_value::<EscalationsView>(),
    ]
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Escalations")]
struct EscalationsView {
    object: &'static str,
    since: Moment,
    until: Moment,
    cost_per_hour_micros: u64,
    tokens_per_second: Option<u64>,
    /// Most expensive first.
    data: Vec<EscalationView>,
    assumptions: Vec<&'static str>,
}

/// One model that others than nodes served in the last 30 days.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Escalation")]
struct EscalationView {
    model: String,
    requests: u64,
    input_tokens: u64,
    output_tokens: u64,
    /// Requests without a known price, which count as free.
    unpriced: u64,
    spend_per_month_nanos: u64,
    tokens_per_month: u64,
    machines: u64,
    hardware_per_month_nanos: u64,
    /// How many times as many requests would cost as much as the hardware, in hundredths of a per cent: up to 10000, it pays today.
    break_even_bps: Option<u64>,
    saves_per_month_nanos: i64,
    #[schemars(extend("enum" = NextStep::WORDS))]
    next_step: &'static str,
    sentence: String,
}

const ASSUMPTIONS: [&str; 3] = [
    "A month has 730 hours, and costs what the last 30 days did in proportion.",
    "Hardware is paid for all of them, busy or not, and serves one model.",
    "Own credentials cost what their providers bill at known prices, managed ones what the workspace owes.",
];

async fn get(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let cost = number(&request, COST)?;
    let fix = "Say what a machine costs by the hour: 2000000 is two dollars.";
    let cost_per_hour_micros = cost.ok_or_else(|| missing(COST, fix))?;
    let hardware = Hardware { cost_per_hour_micros, tokens_per_second: number(&request, SPEED)? };
    let now = control.deps.world.clock.unix_ms();
    let window = Window { start_unix_ms: now.saturating_sub(DAYS * DAY_MS), end_unix_ms: now + 1 };
    let workspace = request.workspace();
    let gates = ReplayRuns::of(&control.deps.store).gates(workspace).await.map_err(of_store)?.gates;
    let reports = reports_that_hold(control, workspace, &gates).await?;
    let spends = spends(control, &request, window).await?;
    let mut data: Vec<_> = spends
        .into_iter()
        .map(|(model, (spend, unpriced))| {
            let has_report = reports.iter().any(|report| report.is_about(&model));
            view(model, spend, unpriced, &escalation(&spend, &hardware, has_report))
        })
        .collect();
    data.sort_by_key(|one| std::cmp::Reverse(one.spend_per_month_nanos));
    Reply::json(&EscalationsView {
        object: "escalations",
        since: Moment(window.start_unix_ms),
        until: Moment(now),
        cost_per_hour_micros,
        tokens_per_second: hardware.tokens_per_second,
        data,
        assumptions: ASSUMPTIONS.to_vec(),
    })
}

fn number(request: &ApiRequest, name: &'static str) -> Result<Option<u64>, Box<Fault>> {
    let Some(text) = request.query.get(name) else { return Ok(None) };
    let read = text.parse().ok().filter(|number| *number > 0);
    let wrong = || invalid(name, format!("{name} is \"{text}\"."), "Give a whole number above 0.");
    read.map(Some).ok_or_else(wrong)
}

/// What each model cost that others than nodes served.
async fn spends(
    control: &Control,
    request: &ApiRequest,
    window: Window,
) -> Result<BTreeMap<String, (Spend, u64)>, Box<Fault>> {
    let query = UsageQuery {
        workspace: request.workspace(),
        window,
        group_by: vec![Dimension::Model, Dimension::Profile],
        interval: None,
        filter: UsageFilter { project: request.confined_to(), ..UsageFilter::default() },
    };
    let rows = control.deps.store.records().usage(query).await.map_err(of_store)?;
    let mut spends: BTreeMap<String, (Spend, u64)> = BTreeMap::new();
    for row in rows {
        let of = |dimension| {
            let group = row.groups.iter().find(|(of, _)| *of == dimension);
            group.and_then(|(_, value)| value.clone())
        };
        let is_other = of(Dimension::Profile).is_some_and(|profile| profile != Profile::Byoc.as_str());
        let Some(model) = of(Dimension::Model).filter(|_| is_other && row.sums.requests > 0) else {
            continue;
        };
        let (spend, unpriced) = spends.entry(model).or_default();
        spend.window_ms = DAYS * DAY_MS;
        spend.requests += row.sums.requests;
        spend.input_tokens += row.sums.input_tokens;
        spend.output_tokens += row.sums.output_tokens;
        spend.cost_nanos = spend.cost_nanos.saturating_add(u64::try_from(row.spend.0).unwrap_or(0));
        *unpriced += row.sums.unpriced;
    }
    Ok(spends)
}

fn view(model: String, spend: Spend, unpriced: u64, advice: &Escalation) -> EscalationView {
    let sentence = match advice.next {
        NextStep::Stay => "It costs less than half of what the hardware would: stay.",
        NextStep::Watch => "It costs more than half of what the hardware would: watch it.",
        NextStep::Replay => "It costs more than the hardware would: run a replay against a node.",
        NextStep::Move => "It costs more than the hardware would, and a report that holds passed: move it.",
    };
    EscalationView {
        model,
        requests: spend.requests,
        input_tokens: spend.input_tokens,
        output_tokens: spend.output_tokens,
        unpriced,
        spend_per_month_nanos: advice.spend_per_month_nanos,
        tokens_per_month: advice.tokens_per_month,
        machines: advice.machines,
        hardware_per_month_nanos: advice.hardware_per_month_nanos,
        break_even_bps: advice.break_even_bps,
        saves_per_month_nanos: advice.saves_per_month_nanos,
        next_step: advice.next.as_str(),
        sentence: sentence.to_owned(),
    }
}
