//! `/v2/alert-rules`: measures of the workspace's requests, and the threshold above which an event is sent.

use api::failure::{invalid, missing, not_there};
use api::moment::Moment;
use api::names::checked_name;
use api::request::ApiRequest;
use api::router::Route;
use api::state::Control;
use domain::limits::MODEL_NAME_BYTES_MAX;
use domain::{AlertRuleId, Fault, KeyId, ProjectId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{AlertMetric, AlertRuleRow, AlertState};

use super::conditions::printable;
use crate::limits::{
    ALERT_REQUESTS_MIN_DEFAULT, ALERT_WINDOW_MINUTES_DEFAULT, ALERT_WINDOW_MINUTES_MAX, ERROR_PERCENT_MAX,
};
use crate::resource::{Resource, WritableResource, delete, get, list, patch, post, put};

const ALERT_WINDOW_MINUTES_MIN: u32 = 1;

pub fn routes() -> Vec<Route> {
    vec![
        post::<AlertRuleRow>("Adds an alert rule, which is measured once a minute. Webhooks for `alert.firing` and `alert.resolved` get an event when it rises above its threshold, and when it no longer exceeds it.")
            .makes::<AlertRuleView>()
            .refuses(409, "too_many_alert_rules"),
        list::<AlertRuleRow>("Lists the workspace's alert rules, each with its last measurement."),
        get::<AlertRuleRow>("Shows an alert rule with its last measurement."),
        patch::<AlertRuleRow>("Changes fields of an alert rule. Earlier measurements are discarded."),
        put::<AlertRuleRow>("Replaces an alert rule. Earlier measurements are discarded."),
        delete::<AlertRuleRow>("Removes an alert rule."),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AlertRule")]
pub struct Input {
    /// By default the metric.
    name: Option<String>,
    /// `spend_micros`, `requests` or `refused_requests` in the window; `error_percent`, the share of failed requests; or the 95th
    /// percentile of the latency or of the time to the first byte.
    #[schemars(required)]
    #[schemars(extend("enum" = AlertMetric::WORDS))]
    metric: Option<String>,
    /// It alerts above this, in the metric's unit: micro-USD, requests, percent (0 to 99) or milliseconds.
    #[schemars(required)]
    threshold: Option<u64>,
    /// 15 by default.
    #[schemars(range(min = ALERT_WINDOW_MINUTES_MIN, max = ALERT_WINDOW_MINUTES_MAX))]
    window_minutes: Option<u32>,
    /// With fewer requests in the window, percents and percentiles say nothing: 10 by default.
    #[schemars(range(min = 1))]
    requests_min: Option<u64>,
    /// Only this project's requests.
    project_id: Option<String>,
    /// Only this key's requests.
    key_id: Option<String>,
    /// Only requests for this model.
    model: Option<String>,
    /// Only requests that this provider served.
    provider: Option<String>,
    #[schemars(extend("enum" = ["active", "disabled", null]))]
    status: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AlertRule")]
pub struct AlertRuleView {
    id: String,
    object: &'static str,
    workspace_id: String,
    name: String,
    #[schemars(extend("enum" = AlertMetric::WORDS))]
    metric: &'static str,
    threshold: u64,
    window_minutes: u32,
    requests_min: u64,
    project_id: Option<String>,
    key_id: Option<String>,
    model: Option<String>,
    provider: Option<String>,
    #[schemars(extend("enum" = ["active", "disabled"]))]
    status: &'static str,
    /// When it rose above its threshold; `null` if it isn't above it.
    firing_since: Option<Moment>,
    /// When it last started to fire; `null` if it never did.
    last_fired_at: Option<Moment>,
    /// The last measurement; `null` where there were too few requests, or none was made yet.
    value: Option<u64>,
    measured_at: Option<Moment>,
    created_at: Moment,
}

const fn status_of(row: &AlertRuleRow) -> &'static str {
    if row.is_enabled { "active" } else { "disabled" }
}

fn show(row: &AlertRuleRow) -> AlertRuleView {
    AlertRuleView {
        id: row.id.to_string(),
        object: "alert_rule",
        workspace_id: row.workspace.to_string(),
        name: row.name.clone(),
        metric: row.metric.as_str(),
        threshold: row.threshold,
        window_minutes: row.window_minutes,
        requests_min: row.requests_min,
        project_id: row.project.map(|id| id.to_string()),
        key_id: row.key.map(|id| id.to_string()),
        model: row.model.clone(),
        provider: row.provider.clone(),
        status: status_of(row),
        firing_since: row.state.firing_since_unix_ms.map(Moment),
        last_fired_at: row.state.fired_unix_ms.map(Moment),
        value: row.state.value,
        measured_at: row.state.measured_unix_ms.map(Moment),
        created_at: Moment(row.created_unix_ms),
    }
}

fn checked_metric(word: Option<String>) -> Result<AlertMetric, Box<Fault>> {
    let words = AlertMetric::WORDS.join(", ");
    let word = word.ok_or_else(|| missing("metric", format!("Use one of {words}.")))?;
    AlertMetric::from_word(&word).ok_or_else(|| {
        let message = format!("Unknown metric \"{}\".", printable(&word));
        invalid("metric", message, format!("Use one of {words}."))
    })
}

fn checked_word(word: Option<String>, field: &'static str) -> Result<Option<String>, Box<Fault>> {
    let Some(word) = word else { return Ok(None) };
    let word = word.trim();
    if word.is_empty() || word.len() > MODEL_NAME_BYTES_MAX || word.chars().any(char::is_control) {
        let fix = format!("Give a name of at most {MODEL_NAME_BYTES_MAX} bytes, or leave it out.");
        return Err(invalid(field, format!("The {field} can't be used as it is."), fix));
    }
    Ok(Some(word.to_owned()))
}

fn checked_id<T: std::str::FromStr>(id: Option<&str>, field: &'static str) -> Result<Option<T>, Box<Fault>> {
    let parse = |id: &str| {
        let message = format!("Unknown {field} \"{}\".", printable(id));
        id.parse()
            .map_err(|_| invalid(field, message, "Give the id or the name of one that the workspace has."))
    };
    id.map(parse).transpose()
}

/// The project and the key, both of the caller's workspace.
async fn checked_scope(
    control: &Control,
    request: &ApiRequest,
    input: &Input,
) -> Result<(Option<ProjectId>, Option<KeyId>), Box<Fault>> {
    let (store, workspace) = (&control.deps.store, request.workspace());
    let project = checked_id::<ProjectId>(input.project_id.as_deref(), "project_id")?;
    if let Some(project) = project {
        let found = store.projects().get(workspace, project).await;
        found.map_err(|error| not_there(error, "project", &project))?;
    }
    let key = checked_id::<KeyId>(input.key_id.as_deref(), "key_id")?;
    if let Some(key) = key {
        let found = store.api_keys().get(workspace, key).await;
        found.map_err(|error| not_there(error, "API key", &key))?;
    }
    Ok((project, key))
}

async fn row_of(
    control: &Control,
    request: &ApiRequest,
    input: Input,
    (id, created_unix_ms): (AlertRuleId, u64),
) -> Result<AlertRuleRow, Box<Fault>> {
    let (project, key) = checked_scope(control, request, &input).await?;
    let metric = checked_metric(input.metric)?;
    let threshold = checked_threshold(metric, input.threshold)?;
    let window_minutes = input.window_minutes.unwrap_or(ALERT_WINDOW_MINUTES_DEFAULT);
    if !(ALERT_WINDOW_MINUTES_MIN..=ALERT_WINDOW_MINUTES_MAX).contains(&window_minutes) {
        let fix = format!("Use {ALERT_WINDOW_MINUTES_MIN} to {ALERT_WINDOW_MINUTES_MAX} minutes.");
        return Err(invalid(
            "window_minutes",
            format!("A window of {window_minutes} minutes can't be measured."),
            fix,
        ));
    }
    let is_enabled = match input.status.as_deref() {
        None | Some("active") => true,
        Some("disabled") => false,
        Some(other) => {
            let message = format!("Unknown status \"{}\".", printable(other));
            return Err(invalid("status", message, "Use active or disabled."));
        }
    };
    Ok(AlertRuleRow {
        id,
        workspace: request.workspace(),
        name: match input.name {
            None => usual_name(metric).to_owned(),
            name => checked_name(name, "name")?,
        },
        metric,
        project,
        key,
        model: checked_word(input.model, "model")?,
        provider: checked_word(input.provider, "provider")?,
        window_minutes,
        threshold,
        requests_min: input.requests_min.unwrap_or(ALERT_REQUESTS_MIN_DEFAULT).clamp(1, u64::from(u32::MAX)),
        is_enabled,
        state: AlertState::default(),
        created_unix_ms,
        version: 0,
    })
}

/// A threshold that measurements can rise above.
fn checked_threshold(metric: AlertMetric, threshold: Option<u64>) -> Result<u64, Box<Fault>> {
    let threshold = threshold
        .filter(|threshold| i64::try_from(*threshold).is_ok())
        .ok_or_else(|| missing("threshold", "Give the value above which it alerts, in the metric's unit."))?;
    if metric == AlertMetric::ErrorPercent && threshold > ERROR_PERCENT_MAX {
        let message = format!("The share of failed requests never rises above {threshold} percent.");
        return Err(invalid("threshold", message, format!("Give 0 to {ERROR_PERCENT_MAX} percent.")));
    }
    Ok(threshold)
}

/// What a rule is called that nobody named.
const fn usual_name(metric: AlertMetric) -> &'static str {
    match metric {
        AlertMetric::Spend => "spend",
        AlertMetric::Requests => "requests",
        AlertMetric::Refused => "refused requests",
        AlertMetric::ErrorPercent => "failed requests",
        AlertMetric::Latency => "latency",
        AlertMetric::FirstByte => "time to first byte",
    }
}

impl Resource for AlertRuleRow {
    const PATH: &'static str = "/v2/alert-rules";
    const ONE: &'static str = "/v2/alert-rules/{id}";
    const WHAT: &'static str = "alert rule";
    type View = AlertRuleView;

    fn table(control: &Control) -> &dyn store::Resource<Self> {
        control.deps.store.alert_rules()
    }

    async fn view(&self, _: &Control) -> Result<AlertRuleView, Box<Fault>> {
        Ok(show(self))
    }
}

impl WritableResource for AlertRuleRow {
    type Input = Input;
    type Update = Input;
    type Rest = ();

    fn writable(&self, _: &Control) -> Result<Value, Box<Fault>> {
        Ok(json!({
            "name": self.name,
            "metric": self.metric.as_str(),
            "threshold": self.threshold,
            "window_minutes": self.window_minutes,
            "requests_min": self.requests_min,
            "project_id": self.project.map(|id| id.to_string()),
            "key_id": self.key.map(|id| id.to_string()),
            "model": self.model,
            "provider": self.provider,
            "status": status_of(self),
        }))
    }

    async fn new(
        control: &Control,
        request: &ApiRequest,
        input: Input,
    ) -> Result<(Self, Self::Rest), Box<Fault>> {
        let now = control.deps.world.clock.unix_ms();
        let id = AlertRuleId::new(now, control.deps.world.id_bytes());
        Ok((row_of(control, request, input, (id, now)).await?, ()))
    }

    async fn change(
        self,
        control: &Control,
        request: &ApiRequest,
        input: Input,
    ) -> Result<(Self, Self::Rest), Box<Fault>> {
        let known = (self.id, self.created_unix_ms);
        Ok((row_of(control, request, input, known).await?, ()))
    }
}
