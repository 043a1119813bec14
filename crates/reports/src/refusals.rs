//! `/v2/analytics/refusals`: how many requests which rule of which policy refused, over time.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::access::Access;
use api::failure::invalid;
use api::moment::Moment;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::{Fault, PolicyRule, Refuser};
use http::{Method, StatusCode};
use reconcilers::of_store;
use schemars::JsonSchema;
use serde::Serialize;
use store::{Interval, Page, RequestFilter, RequestRow};

use crate::limits::REFUSALS_READ_MAX;
use crate::usage::{parse_param, window};

const PAGE_ROWS: u32 = 500;

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/v2/analytics/refusals", Access::LOOK, refusals)
            .says("Requests that policies refused, by project, policy and rule.")
            .query("window", "`24h`, `7d`, `30d` (the default) or `month`.")
            .query("start", "The start of the window, instead of `window`.")
            .query("end", "The end of the window; by default now.")
            .query("interval", "One row per `hour` or `day`.")
            .query("project_id", "Only this project's.")
            .one_of("interval", &["hour", "day"])
            .returns_value::<Refusals>(),
    ]
}

#[derive(Serialize, JsonSchema)]
struct Refusals {
    object: &'static str,
    start: Moment,
    end: Moment,
    /// By time, then the most frequent first.
    data: Vec<RefusalRow>,
    /// Only the newest are counted: there were more than are read at once.
    partial: bool,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PolicyRefusals")]
struct RefusalRow {
    /// The start of the interval, if one was requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<Moment>,
    project_id: String,
    policy_id: String,
    /// As `agent-policy-rule`; `null` for what an earlier version recorded.
    rule: Option<&'static str>,
    requests: u64,
}

/// Interval, project, policy and rule.
type Group = (Option<u64>, String, String, Option<&'static str>);

async fn refusals(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let interval = match request.query.get("interval").map(String::as_str) {
        None => None,
        Some("hour") => Some(Interval::Hour),
        Some("day") => Some(Interval::Day),
        Some(other) => {
            let message = format!("\"{other}\" isn't an interval.");
            return Err(invalid("interval", message, "Use hour or day."));
        }
    };
    let window = window(&request, control.deps.world.clock.unix_ms())?;
    let filter = RequestFilter {
        project: parse_param(&request, "project_id")?,
        status: Some(StatusCode::FORBIDDEN.as_u16()),
        since_unix_ms: Some(window.start_unix_ms),
        until_unix_ms: Some(window.end_unix_ms),
        ..RequestFilter::default()
    };
    let (groups, partial) = count(control, &request, filter, interval).await?;
    let mut data: Vec<_> = groups.into_iter().map(|(group, requests)| row(group, requests)).collect();
    data.sort_by_key(|row| (row.start.as_ref().map(|start| start.0), std::cmp::Reverse(row.requests)));
    Reply::json(&Refusals {
        object: "policy_refusals",
        start: Moment(window.start_unix_ms),
        end: Moment(window.end_unix_ms),
        data,
        partial,
    })
}

/// Counts the newest, and says whether there are more.
async fn count(
    control: &Control,
    request: &ApiRequest,
    filter: RequestFilter,
    interval: Option<Interval>,
) -> Result<(BTreeMap<Group, u64>, bool), Box<Fault>> {
    let (mut groups, mut read) = (BTreeMap::new(), 0);
    let mut page = Page::first(PAGE_ROWS);
    loop {
        let listed = control.deps.store.records().requests(request.workspace(), filter.clone(), page);
        let listed = listed.await.map_err(of_store)?;
        read += listed.rows.len();
        for group in listed.rows.iter().filter_map(|row| group(row, interval)) {
            *groups.entry(group).or_default() += 1;
        }
        match listed.next {
            None => return Ok((groups, false)),
            Some(_) if read >= REFUSALS_READ_MAX => return Ok((groups, true)),
            Some(after) => page = Page { after: Some(after), limit: PAGE_ROWS },
        }
    }
}

/// `None` where no policy refused it.
fn group(row: &RequestRow, interval: Option<Interval>) -> Option<Group> {
    let refuser = row.refused_by?;
    if !matches!(refuser, Refuser::Policy(_) | Refuser::PolicyRule(..)) {
        return None;
    }
    let bucket = interval.map(|interval| row.started_unix_ms - row.started_unix_ms % interval.ms());
    let rule = refuser.policy_rule().map(PolicyRule::as_str);
    Some((bucket, row.project.to_string(), refuser.id(), rule))
}

fn row((start, project_id, policy_id, rule): Group, requests: u64) -> RefusalRow {
    RefusalRow { start: start.map(Moment), project_id, policy_id, rule, requests }
}
