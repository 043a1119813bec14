//! `tidegate alert`: rules about the workspace's requests, and the values above which an event is sent.

use serde_json::Value;

use super::budget::micros;
use crate::body::Body;
use crate::collection::Collection;
use crate::output::{self, Failure, Form};
use crate::shared::Shared;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Adds a rule.
    Add {
        /// What it measures.
        metric: Metric,
        /// The value above which it alerts: USD, requests, percent or milliseconds.
        #[arg(long, allow_negative_numbers = true)]
        above: String,
        #[command(flatten)]
        options: Options,
    },
    /// Lists rules with their latest values.
    List,
    /// Shows one rule.
    Show { id: String },
    /// Changes a rule and forgets its earlier measurements.
    Set {
        id: String,
        /// The value above which it alerts, in the unit of the rule's metric.
        #[arg(long, allow_negative_numbers = true)]
        above: Option<String>,
        #[command(flatten)]
        options: Options,
    },
    /// Enables a disabled rule again.
    Enable { id: String },
    /// Disables a rule without deleting it.
    Disable { id: String },
    /// Removes a rule.
    Remove { id: String },
}

/// What a rule measures over its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Metric {
    /// What you owe, and what your own providers bill: USD.
    Spend,
    /// All requests.
    Requests,
    /// Requests that were refused before an attempt.
    Refused,
    /// The share of failed requests: percent.
    Errors,
    /// The 95th percentile of the time to the last byte: milliseconds.
    Latency,
    /// The 95th percentile of the time to the first byte: milliseconds.
    FirstByte,
}

#[derive(Debug, clap::Args)]
pub struct Options {
    /// A name for people to recognise it by.
    #[arg(long)]
    name: Option<String>,
    /// How far back it measures, such as 15m (default) or 6h.
    #[arg(long, value_name = "TIME")]
    window: Option<String>,
    /// The fewest requests in the window for which percentages and percentiles count; by default 10.
    #[arg(long, value_name = "COUNT")]
    min_requests: Option<u64>,
    /// Only this project's requests.
    #[arg(long)]
    project: Option<String>,
    /// Only this key's requests.
    #[arg(long)]
    key: Option<String>,
    /// Only requests for this model.
    #[arg(long)]
    model: Option<String>,
    /// Only requests that this provider served.
    #[arg(long)]
    provider: Option<String>,
}

const PATH: &str = "/v2/alert-rules";
const COLUMNS: [&str; 9] = [
    "id",
    "name",
    "metric",
    "value",
    "threshold",
    "window_minutes",
    "firing_since",
    "last_fired_at",
    "status",
];

impl Metric {
    const fn field(self) -> &'static str {
        match self {
            Self::Spend => "spend_micros",
            Self::Requests => "requests",
            Self::Refused => "refused_requests",
            Self::Errors => "error_percent",
            Self::Latency => "latency_p95_ms",
            Self::FirstByte => "first_byte_p95_ms",
        }
    }

    /// A value as people write it, in the unit of the API.
    fn threshold(self, text: &str) -> Result<u64, Failure> {
        if self == Self::Spend {
            return micros(text.strip_prefix('$').unwrap_or(text));
        }
        let number = text.strip_suffix(if self == Self::Errors { "%" } else { "ms" }).unwrap_or(text);
        number.trim().parse().map_err(|_| {
            let message = format!("--above \"{}\" isn't a whole number.", output::printable(text));
            Failure::new(output::USAGE, message).fix("Write it as --above 500; the unit is the metric's own.")
        })
    }

    fn named(field: &str) -> Option<Self> {
        [Self::Spend, Self::Requests, Self::Refused, Self::Errors, Self::Latency, Self::FirstByte]
            .into_iter()
            .find(|metric| metric.field() == field)
    }
}

/// Minutes, of a time such as 15m or 6h.
fn minutes(text: &str) -> Result<u32, Failure> {
    let (number, each) = match text.strip_suffix('h') {
        Some(hours) => (hours, 60),
        None => (text.strip_suffix('m').unwrap_or(text), 1),
    };
    let parsed = number.parse::<u32>().ok().and_then(|number| number.checked_mul(each));
    parsed.ok_or_else(|| {
        let message = format!("\"{}\" isn't a time. Write 15m or 6h.", output::printable(text));
        Failure::new(output::USAGE, message)
    })
}

impl Options {
    fn body(self) -> Result<Body, Failure> {
        Ok(Body::new()
            .with_some("name", self.name)
            .with_some("window_minutes", self.window.as_deref().map(minutes).transpose()?)
            .with_some("requests_min", self.min_requests)
            .with_some("project_id", self.project)
            .with_some("key_id", self.key)
            .with_some("model", self.model)
            .with_some("provider", self.provider))
    }
}

/// # Errors
/// Of the gateway, or of what was typed.
pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let rules = Collection::connect(shared, PATH)?.printed(for_form);
    match command {
        Command::Add { metric, above, options } => {
            let body = options.body()?.with("metric", metric.field());
            let body = body.with("threshold", metric.threshold(&above)?).build();
            rules.create(&body)?;
        }
        Command::List => {
            rules.list(
                &COLUMNS,
                "No alert rules. `tidegate alert add spend --above 20 --window 1h` makes one.",
            )?;
        }
        Command::Show { id } => rules.show(&id)?,
        Command::Set { id, above, options } => {
            let body = options.body()?;
            let threshold = match above {
                None => None,
                Some(above) => Some(metric_of(&rules, &id)?.threshold(&above)?),
            };
            rules.change(&id, &body.with_some("threshold", threshold).build())?;
        }
        Command::Enable { id } => rules.change(&id, &serde_json::json!({"status": "active"}))?,
        Command::Disable { id } => rules.change(&id, &serde_json::json!({"status": "disabled"}))?,
        Command::Remove { id } => rules.remove(&id)?,
    }
    Ok(())
}

/// A rule as it is printed: people read what is spent in dollars.
fn for_form(form: Form, mut rule: Value) -> Value {
    let metric = rule.get("metric").and_then(Value::as_str);
    if form != Form::Table || metric != Some(Metric::Spend.field()) {
        return rule;
    }
    if let Some(fields) = rule.as_object_mut() {
        fields.insert("metric".to_owned(), "spend".into());
        for name in ["value", "threshold"] {
            if let Some(micros) = fields.get(name).and_then(Value::as_i64) {
                fields.insert(name.to_owned(), output::spend(micros).into());
            }
        }
    }
    rule
}

/// A value is in the unit of what the rule measures.
fn metric_of(rules: &Collection<'_>, id: &str) -> Result<Metric, Failure> {
    let rule = rules.api.get(&rules.at(id))?;
    let metric = rule.get("metric").and_then(Value::as_str).and_then(Metric::named);
    metric.ok_or_else(|| Failure::new(output::FAILED, "The rule measures what this version doesn't know."))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn people_read_what_is_spent_in_dollars() {
        let rule = json!({"metric": "spend_micros", "value": null, "threshold": 20_000_000});
        let expected = json!({"metric": "spend", "value": null, "threshold": "$20.00"});
        assert_eq!(for_form(Form::Table, rule.clone()), expected);
        assert_eq!(for_form(Form::Json, rule.clone()), rule);
        let other = json!({"metric": "requests", "value": 3, "threshold": 20});
        assert_eq!(for_form(Form::Table, other.clone()), other);
    }

    #[test]
    fn values_are_read_in_the_unit_of_their_metric() {
        for (metric, text, expected) in [
            (Metric::Spend, "20", Some(20_000_000)),
            (Metric::Spend, "$0.5", Some(500_000)),
            (Metric::Errors, "5%", Some(5)),
            (Metric::Latency, "2500ms", Some(2_500)),
            (Metric::Requests, "7", Some(7)),
            (Metric::Requests, "many", None),
            (Metric::Errors, "-1", None),
        ] {
            assert_eq!(metric.threshold(text).ok(), expected, "{metric:?} {text}");
        }
        assert_eq!(["15m", "6h", "30"].map(|text| minutes(text).ok()), [Some(15), Some(360), Some(30)]);
        assert_eq!(minutes("soon").ok(), None);
    }
}
