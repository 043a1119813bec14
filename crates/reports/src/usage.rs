//! `/v2/usage` and `/v2/analytics`: sums over a window, grouped; the same columns as the billing snapshot.

use std::borrow::Cow;
use std::sync::Arc;

use api::access::Access;
use api::caller::Caller;
use api::failure::invalid;
use api::filter::{self, FilteredList, ParsedFilter};
use api::moment::Moment;
use api::reply::{Page, Reply};
use api::request::ApiRequest;
use api::router::{Handled, Handles, Route};
use api::state::Control;
use domain::{Fault, Mode, Nanos, QosClass};
use http::Method;
use reconcilers::{moment, of_store};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde_json::{Map, Value, json};
use store::{
    Dimension, Interval, Percentiles, Records, UsageFilter, UsageQuery, UsageRow, UsageSums, Window,
};

use crate::hardware_costs;
use crate::limits::USAGE_BY_MINUTE_MS_MAX;
use crate::reuse::{self, ReuseSumsView};
use crate::usage_scores::{self, UsageScoreView};

pub fn routes() -> Vec<Route> {
    vec![
        sums("/v2/usage", usage)
            .says("Sums of requests, tokens and money over a window, grouped.")
            .returns_value::<Usage<Sums>>(),
        sums("/v2/analytics", analytics)
            .says("Usage, speed and reliability.")
            .returns_value::<Usage<Analysis>>(),
    ]
}

fn sums(pattern: &'static str, function: impl for<'a> Handles<'a, Caller> + Send + Sync + 'static) -> Route {
    let parameters = [
        ("window", "`24h`, `7d`, `30d` (the default) or `month`."),
        ("start", "The start of the window, instead of `window`."),
        ("end", "The end of the window; by default now."),
        ("group_by", "Up to three dimensions and an interval, separated by commas."),
        ("interval", "One row per `minute`, `hour` or `day`."),
        ("project_id", "Only this project's."),
        ("key_id", "Only this key's."),
        ("model", "Only this model's."),
        ("provider", "Only this provider's."),
        ("profile", "Only this profile's."),
        ("mode", "`mi`, `byok` or `byoc`."),
        ("environment", "Only this environment's."),
        ("tag", "Only those with this tag."),
        ("qos_class", "Only those whose hints stated this class."),
        FILTER,
        FORMAT,
    ];
    let route = Route::new(Method::GET, pattern, Access::LOOK, function);
    let route =
        parameters.into_iter().fold(route, |route, (name, description)| route.query(name, description));
    route
        .one_of("interval", &["minute", "hour", "day"])
        .one_of("mode", &["mi", "byok", "byoc"])
        .one_of("qos_class", &QosClass::WORDS)
}

/// The filter syntax that the command line and the console share.
pub const FILTER: (&str, &str) =
    ("filter", "Terms such as `status:error model:gpt-4o* since:24h`, all of which must match.");

/// Formats for lists that can be exported.
pub const FORMAT: (&str, &str) = ("format", "`json`, `jsonl` or `csv`.");

/// The columns that every sum has.
#[derive(Serialize, JsonSchema)]
pub struct Columns {
    /// Requests with an attempt, or answered from a cache. Usage has all requests in `total_requests`.
    requests: u64,
    #[serde(flatten)]
    pub spent: Spent,
}

#[derive(Serialize, JsonSchema)]
pub struct Spent {
    input_tokens: u64,
    output_tokens: u64,
    cached_tokens: u64,
    /// What the workspace owes the operator.
    cost_micros: i64,
    /// What the provider bills.
    provider_cost_micros: i64,
}

pub fn columns(sums: &UsageSums) -> Columns {
    Columns {
        requests: sums.requests,
        spent: Spent {
            input_tokens: sums.input_tokens,
            output_tokens: sums.output_tokens,
            cached_tokens: sums.cached_tokens,
            cost_micros: sums.cost.micros(),
            provider_cost_micros: sums.provider_cost.micros(),
        },
    }
}

/// A row's group-by dimensions and their values.
#[derive(Serialize)]
#[serde(transparent)]
struct Groups(Map<String, Value>);

impl JsonSchema for Groups {
    fn schema_name() -> Cow<'static, str> {
        "Groups".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names = Dimension::ALL.iter().map(|dimension| dimension.as_str().to_owned());
        let properties: Map<_, _> = names.map(|name| (name, json!({"type": ["string", "null"]}))).collect();
        json_schema!({"type": "object", "properties": properties})
    }
}

/// One row of usage.
#[derive(Serialize, JsonSchema)]
struct Sums {
    /// The start of the interval, if one was requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<Moment>,
    #[serde(flatten)]
    groups: Groups,
    #[serde(flatten)]
    columns: Columns,
    /// What the workspace pays in total: what it owes the operator, and what its own providers bill it.
    spend_micros: i64,
    reasoning_tokens: u64,
    cache_write_tokens: u64,
    /// Images that were generated.
    images: u64,
    /// Milliseconds of audio that were transcribed.
    audio_ms: u64,
    searches: u64,
    /// Characters that were spoken.
    characters: u64,
    /// Millionths of the units that providers bill models by; meaningful for a single model.
    billed_micro_units: u64,
    /// Milliseconds of video that were generated.
    video_ms: u64,
    /// Web searches by providers for answers, searches of stored files, and calls of their other tools.
    web_searches: u64,
    file_searches: u64,
    hosted_tool_calls: u64,
    /// Tokens that providers cache by name, times hours.
    cache_token_hours: u64,
    realized_reused_tokens: u64,
    /// The waterfall of prompts and caches, with its money.
    reuse: ReuseSumsView,
    /// Of `requests`: the outcome is not `completed`.
    failed_requests: u64,
    /// Refused before an attempt; not among `requests`.
    unattempted_requests: u64,
    /// All requests: `requests` and `unattempted_requests` together. The console, the command line and alert rules count
    /// these as requests.
    total_requests: u64,
    estimated_requests: u64,
    unpriced_requests: u64,
    attempts: u64,
    /// What applications and people made of the answers, by name. Only where the sums are of models or of providers, of all
    /// requests or one project's.
    #[serde(skip_serializing_if = "Option::is_none")]
    scores: Option<Vec<UsageScoreView>>,
    /// What the hardware of the nodes cost by what their owners state: no part of any other sum, and owed to nobody. Only where
    /// all sums are by node, or by mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    hardware_cost_micros: Option<i64>,
}

/// One row of analytics.
#[derive(Serialize, JsonSchema)]
struct Analysis {
    #[serde(flatten)]
    sums: Sums,
    /// The completed share of all requests, including those refused before an attempt.
    success_rate: Option<f64>,
    /// The answered share of the requests that a provider or node answered, or failed because it was down, overloaded, too slow or
    /// broke off. By provider, credential, node, account, region, profile or mode, attempts that another one took over count as failed, too.
    uptime: Option<f64>,
    /// The output tokens of streams per second, from the first byte on.
    tokens_per_second: Option<f64>,
    latency_us: Option<PercentilesView>,
    time_to_first_byte_us: Option<PercentilesView>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Percentiles")]
struct PercentilesView {
    p50: u64,
    p95: u64,
    p99: u64,
}

/// Rows and their window.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Usage{T}")]
struct Usage<T> {
    object: &'static str,
    start: Moment,
    end: Moment,
    data: Vec<T>,
    next_cursor: Option<String>,
    has_more: bool,
}

fn sums_of(row: &UsageRow) -> Sums {
    let groups = row.groups.iter().map(|(dimension, value)| (dimension.as_str().to_owned(), json!(value)));
    let sums = &row.sums;
    Sums {
        start: row.bucket_unix_ms.map(Moment),
        groups: Groups(groups.collect()),
        columns: columns(sums),
        spend_micros: row.spend.micros_beside(sums.cost),
        reasoning_tokens: sums.reasoning_tokens,
        cache_write_tokens: sums.cache_write_tokens,
        images: sums.units.images,
        audio_ms: sums.units.audio_ms,
        searches: sums.units.searches,
        characters: sums.units.characters,
        billed_micro_units: sums.units.billed,
        video_ms: sums.units.video_ms,
        web_searches: sums.units.web_searches,
        file_searches: sums.units.file_searches,
        hosted_tool_calls: sums.units.hosted_calls,
        cache_token_hours: sums.units.cache_token_hours,
        realized_reused_tokens: sums.realized_reused_tokens,
        reuse: reuse::show_sums(sums),
        failed_requests: sums.failed,
        unattempted_requests: sums.unattempted,
        total_requests: sums.total_requests(),
        estimated_requests: sums.estimated,
        unpriced_requests: sums.unpriced,
        attempts: sums.attempts,
        scores: None,
        hardware_cost_micros: None,
    }
}

/// The same sums with what the hardware of nodes cost, where they are by node or by mode.
async fn with_hardware(
    control: &Control,
    query: &UsageQuery,
    rows: &[UsageRow],
    mut sums: Vec<Sums>,
) -> Result<Vec<Sums>, Box<Fault>> {
    let ([dimension @ (Dimension::Node | Dimension::Mode)], None) =
        (query.group_by.as_slice(), query.interval)
    else {
        return Ok(sums);
    };
    if query.filter != UsageFilter::default() {
        return Ok(sums);
    }
    let costs = hardware_costs::by_node(control, query.workspace, query.window).await?;
    let all: Option<Nanos> = (!costs.is_empty()).then(|| costs.values().copied().sum());
    for (row, sums) in rows.iter().zip(&mut sums) {
        let group = row.groups.first().and_then(|(_, value)| value.as_deref());
        let cost = match (dimension, group) {
            (Dimension::Mode, Some(mode)) => all.filter(|_| mode == Mode::Byoc.as_str()),
            (_, Some(node)) => node.parse().ok().and_then(|node| costs.get(&node).copied()),
            (_, None) => None,
        };
        sums.hardware_cost_micros = cost.map(Nanos::micros);
    }
    Ok(sums)
}

/// The sums of rows, with the scores of each where they have any.
async fn with_scores(
    control: &Control,
    query: &UsageQuery,
    rows: &[UsageRow],
) -> Result<Vec<Sums>, Box<Fault>> {
    let Some((dimension, mut found)) = usage_scores::by_group(control, query).await? else {
        return Ok(rows.iter().map(sums_of).collect());
    };
    let with = |row: &UsageRow| {
        let group = row.groups.iter().find(|(known, _)| *known == dimension);
        let group = group.and_then(|(_, value)| value.clone()).unwrap_or_default();
        Sums { scores: Some(found.remove(&group).unwrap_or_default()), ..sums_of(row) }
    };
    Ok(rows.iter().map(with).collect())
}

fn analysis_of((row, sums): (&UsageRow, Sums)) -> Analysis {
    let requests = row.sums.total_requests();
    let completed = row.sums.requests.saturating_sub(row.sums.failed);
    Analysis {
        sums,
        success_rate: (requests > 0).then(|| completed as f64 / requests as f64),
        uptime: match row.groups.iter().any(|(dimension, _)| is_of_upstream(*dimension)) {
            true => row.sums.service.uptime_by_attempt(),
            false => row.sums.service.uptime(),
        },
        tokens_per_second: row.sums.service.tokens_per_second(),
        latency_us: row.latency.map(percentiles),
        time_to_first_byte_us: row.first_byte.map(percentiles),
    }
}

/// Whether a dimension tells apart what was asked.
const fn is_of_upstream(dimension: Dimension) -> bool {
    matches!(
        dimension,
        Dimension::Provider
            | Dimension::Credential
            | Dimension::Node
            | Dimension::Account
            | Dimension::Region
            | Dimension::Profile
            | Dimension::Mode
    )
}

const fn percentiles(found: Percentiles) -> PercentilesView {
    PercentilesView { p50: found.p50_us, p95: found.p95_us, p99: found.p99_us }
}

async fn usage(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let (query, mut rows) = read(control, &request).await?;
    // What was tried, and served nothing, has no usage.
    rows.retain(|row| row.groups.is_empty() || row.sums.total_requests() > 0);
    let sums = with_scores(control, &query, &rows).await?;
    let sums = with_hardware(control, &query, &rows, sums).await?;
    answer(&request, &query, sums)
}

async fn analytics(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let (query, rows) = read(control, &request).await?;
    let sums = with_scores(control, &query, &rows).await?;
    answer(&request, &query, rows.iter().zip(sums).map(analysis_of).collect())
}

fn answer<T: Serialize>(request: &ApiRequest, query: &UsageQuery, data: Vec<T>) -> Result<Reply, Box<Fault>> {
    let page = Page::whole(data);
    let format = request.query.get("format").map(String::as_str);
    if format.is_some_and(|format| format != "json") {
        return Reply::list(format, &page);
    }
    Reply::json(&Usage {
        object: "usage",
        start: Moment(query.window.start_unix_ms),
        end: Moment(query.window.end_unix_ms),
        data: page.data,
        next_cursor: page.next_cursor,
        has_more: page.has_more,
    })
}

async fn read(control: &Control, request: &ApiRequest) -> Result<(UsageQuery, Vec<UsageRow>), Box<Fault>> {
    let (group_by, grouped_interval) = groups(request)?;
    let interval = match request.query.get("interval").map(String::as_str) {
        None => grouped_interval,
        Some("minute") => Some(Interval::Minute),
        Some("hour") => Some(Interval::Hour),
        Some("day") => Some(Interval::Day),
        Some(other) => {
            let message = format!("\"{other}\" isn't an interval.");
            return Err(invalid("interval", message, "Use minute, hour or day."));
        }
    };
    let parsed_filter = filter::read(control, request, FilteredList::Sums).await?;
    let records = control.deps.store.records();
    let window = within(request, window(request, control.deps.world.clock.unix_ms())?, &parsed_filter);
    if interval == Some(Interval::Minute)
        && window.end_unix_ms - window.start_unix_ms > USAGE_BY_MINUTE_MS_MAX
    {
        let message = "That is too long a window for minutes.";
        return Err(invalid("interval", message, "Ask for a day at most, or use hour or day."));
    }
    let window = records.coverage(window).await.map_err(of_store)?;
    let filter = filter(request, parsed_filter)?;
    let mut query = UsageQuery { workspace: request.workspace(), window, group_by, interval, filter };
    if query.group_by.contains(&Dimension::EndUser) {
        check_by_end_user(&query)?;
        query.window = whole_days(query.window);
    }
    if query.group_by.contains(&Dimension::Task) {
        let rows = by_task(records, &query).await?;
        return Ok((query, rows));
    }
    let rows = records.usage(query.clone()).await.map_err(of_store)?;
    Ok((query, rows))
}

/// Tasks are counted from the records, and divided by nothing else.
async fn by_task(records: &dyn Records, query: &UsageQuery) -> Result<Vec<UsageRow>, Box<Fault>> {
    if query.group_by.len() > 1 {
        let message = "Sums of tasks can't be divided by another dimension.";
        return Err(invalid("group_by", message, "Group by task alone, or by task and an interval."));
    }
    let rows = store::usage_by_task(records, query).await.map_err(of_store)?;
    rows.ok_or_else(|| {
        let message = "The window has more requests or tasks than one answer counts.";
        invalid("window", message, "Ask for a shorter window, or filter by project, key, environment or tag.")
    })
}

/// End users are summed by the day, and by nothing else.
fn check_by_end_user(query: &UsageQuery) -> Result<(), Box<Fault>> {
    let wrong = |param, message: &str, fix: &str| Err(invalid(param, message, fix));
    if query.group_by.len() > 1 {
        let fix = "Group by end_user alone, or by end_user,day.";
        return wrong("group_by", "Sums of end users can't be divided by another dimension.", fix);
    }
    if !matches!(query.interval, None | Some(Interval::Day)) {
        return wrong("interval", "Sums of end users are of whole days.", "Use day, or no interval.");
    }
    if query.filter != UsageFilter::default() {
        let fix = "Leave the filter out, or list requests with filter=end_user:NAME and the other terms.";
        return wrong(
            "filter",
            "Sums of end users can't be filtered: they are of all requests of the workspace.",
            fix,
        );
    }
    Ok(())
}

const fn whole_days(window: Window) -> Window {
    let day = Interval::Day.ms();
    Window {
        start_unix_ms: window.start_unix_ms / day * day,
        end_unix_ms: window.end_unix_ms.next_multiple_of(day),
    }
}

/// Parses `group_by=model,day`: dimensions, and the interval that `day`, `hour` or `minute` stands for.
fn groups(request: &ApiRequest) -> Result<(Vec<Dimension>, Option<Interval>), Box<Fault>> {
    let mut interval = None;
    let mut dimensions = Vec::new();
    let wanted = request.query.get("group_by").map_or("", String::as_str);
    for name in wanted.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        match name {
            "day" => interval = Some(Interval::Day),
            "hour" => interval = Some(Interval::Hour),
            "minute" => interval = Some(Interval::Minute),
            _ => match Dimension::from_name(name) {
                // Which accounts there are is the operator's business.
                Some(Dimension::Account) if !request.is_operator() => {
                    let fix = "Use provider, or a key of the operator.";
                    return Err(invalid("group_by", "Only the operator may group by account.", fix));
                }
                Some(dimension) => dimensions.push(dimension),
                None => {
                    let known: Vec<_> =
                        Dimension::ALL.iter().map(|d| d.as_str()).chain(["day", "hour", "minute"]).collect();
                    return Err(invalid(
                        "group_by",
                        format!("group_by has an unknown group \"{name}\"."),
                        format!("Use {}.", known.join(", ")),
                    ));
                }
            },
        }
    }
    if dimensions.len() > store::USAGE_DIMENSIONS_MAX {
        let fix =
            format!("Group by at most {} of them, in addition to an interval.", store::USAGE_DIMENSIONS_MAX);
        return Err(invalid("group_by", "That is too many dimensions.", fix));
    }
    Ok((dimensions, interval))
}

const HOUR_MS: u64 = 3_600_000;

/// The time window: `start` and `end`, or `window` in hours, days, or the current month. It ends slightly
/// after now, so that exchanges that just ended are in it.
pub fn window(request: &ApiRequest, now_unix_ms: u64) -> Result<Window, Box<Fault>> {
    let of = |name: &str| request.query.get(name).map(String::as_str);
    window_of([of("window"), of("start"), of("end")], now_unix_ms)
}

/// The window that a name, or a start and an end, state.
pub fn window_of([named, start, end]: [Option<&str>; 3], now_unix_ms: u64) -> Result<Window, Box<Fault>> {
    let end_unix_ms = match end {
        Some(text) => moment::read(text, "end")?,
        None => now_unix_ms + HOUR_MS,
    };
    let start_unix_ms = match (start, named) {
        (Some(_), Some(_)) => {
            return Err(invalid("window", "window and start are both given.", "Send only one of them."));
        }
        (Some(text), None) => moment::read(text, "start")?,
        (None, Some("month")) => moment::month_start(now_unix_ms),
        (None, named) => now_unix_ms.saturating_sub(length(named.unwrap_or("30d"))?),
    };
    if start_unix_ms >= end_unix_ms {
        return Err(invalid("start", "The window ends before it starts.", "Give a start before the end."));
    }
    Ok(Window { start_unix_ms, end_unix_ms })
}

/// The intersection of the window and the filter's own time span, empty where they don't meet. Where no
/// window is given, the filter's start applies.
fn within(request: &ApiRequest, window: Window, parsed_filter: &ParsedFilter) -> Window {
    let is_named = ["window", "start"].iter().any(|name| request.query.contains_key(*name));
    let end_unix_ms = filter::earlier(Some(window.end_unix_ms), parsed_filter.until_unix_ms).unwrap_or(0);
    let start_unix_ms = match parsed_filter.since_unix_ms {
        Some(since) if is_named => since.max(window.start_unix_ms),
        Some(since) => since,
        None => window.start_unix_ms,
    };
    Window { start_unix_ms: start_unix_ms.min(end_unix_ms), end_unix_ms }
}

fn length(window: &str) -> Result<u64, Box<Fault>> {
    let hours = window.strip_suffix('h').map(|n| (n, HOUR_MS));
    let days = window.strip_suffix('d').map(|n| (n, 24 * HOUR_MS));
    hours
        .or(days)
        .and_then(|(number, unit)| {
            number.parse::<u64>().ok().filter(|n| (1..=10_000).contains(n)).map(|n| n * unit)
        })
        .ok_or_else(|| {
            invalid("window", format!("\"{window}\" isn't a window."), "Use 24h, 7d, 30d or month.")
        })
}

fn filter(request: &ApiRequest, parsed_filter: ParsedFilter) -> Result<UsageFilter, Box<Fault>> {
    let text = |name: &str| request.query.get(name).cloned();
    let mode = match request.query.get("mode") {
        None => None,
        Some(name) => {
            Some(Mode::ALL.into_iter().find(|mode| mode.as_str() == name).ok_or_else(|| {
                invalid("mode", format!("\"{name}\" isn't a mode."), "Use mi, byok or byoc.")
            })?)
        }
    };
    Ok(UsageFilter {
        project: parse_param(request, "project_id")?,
        key: parse_param(request, "key_id")?,
        model: text("model"),
        provider: text("provider"),
        profile: text("profile"),
        mode,
        environment: text("environment"),
        tag: text("tag"),
        qos_class: parse_class(request)?,
        terms: parsed_filter.terms,
    })
}

/// The class that a query is about.
pub fn parse_class(request: &ApiRequest) -> Result<Option<QosClass>, Box<Fault>> {
    let Some(word) = request.query.get("qos_class") else { return Ok(None) };
    let known = QosClass::from_word(word).ok_or_else(|| {
        let words = QosClass::WORDS.join(", ");
        invalid("qos_class", format!("\"{word}\" isn't a class."), format!("Use one of {words}."))
    });
    known.map(Some)
}

/// A query parameter that holds an id.
pub fn parse_param<T: std::str::FromStr>(
    request: &ApiRequest,
    name: &'static str,
) -> Result<Option<T>, Box<Fault>> {
    match request.query.get(name) {
        None => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| {
            invalid(name, format!("\"{text}\" isn't an id of this kind."), "Copy it from the list.")
        }),
    }
}
