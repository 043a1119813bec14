//! Events in words, for people: what a chat shows of one.

use domain::Nanos;
use serde_json::Value;
use store::{AlertMetric, EventKind, EventRow};

use crate::moment;

/// An event as a person reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// One sentence.
    pub headline: String,
    /// What else there is to know, in few lines; may be empty.
    pub details: String,
}

impl Notice {
    fn new(headline: impl Into<String>, details: impl Into<String>) -> Self {
        Self { headline: headline.into(), details: details.into() }
    }

    /// The event in words.
    pub fn of(event: &EventRow) -> Self {
        let facts = Facts(&event.payload);
        match event.kind {
            EventKind::AlertFiring | EventKind::AlertResolved => facts.alert(event.kind),
            EventKind::BudgetAlert => facts.budget(),
            EventKind::CommitmentAlert => facts.commitment(),
            EventKind::WeeklyDigest => facts.digest(),
            EventKind::CanaryWithdrawn => Self::new(
                format!("The canary of alias {} was withdrawn", facts.text("name")),
                facts.text("reason"),
            ),
            EventKind::CredentialExpiring => {
                let days = facts.number("days_left");
                let ends = if days == 1 { "in 1 day".to_owned() } else { format!("in {days} days") };
                Self::new(format!("{} expires {ends}", facts.credential()), "")
            }
            EventKind::CredentialInvalid => Self::new(
                format!("{} refuses {}", facts.text("provider"), facts.credential()),
                "Rotate the credential: nothing is sent with it until then.",
            ),
            EventKind::CredentialActive => Self::new(format!("{} works", facts.credential()), ""),
            EventKind::CredentialDisabled => Self::new(format!("{} was disabled", facts.credential()), ""),
            EventKind::CredentialRevoked => Self::new(format!("{} was revoked", facts.credential()), ""),
            EventKind::InvoiceFinalised => {
                let start = facts.moment("period_start_unix_ms");
                let month = start.get(..7).unwrap_or(&start);
                Self::new(format!("The invoice for {month} is final: {}", facts.money("total_micros")), "")
            }
            EventKind::KeyCreated => Self::new(format!("API key {} was created", facts.text("name")), ""),
            EventKind::KeyRevoked => Self::new(format!("API key {} was revoked", facts.text("name")), ""),
            EventKind::McpToolsChanged => Self::new(
                format!("MCP server {} changed its tools", facts.text("name")),
                "The changed tools are held back until a person accepts them.",
            ),
            EventKind::NodeReachable => Self::new(format!("Node {} answers again", facts.text("name")), ""),
            EventKind::NodeUnreachable => {
                Self::new(format!("Node {} doesn't answer", facts.text("name")), "")
            }
            EventKind::WebhookTest => Self::new("This is a test: Tidegate's events arrive here", ""),
        }
    }
}

/// What an event states.
#[derive(Clone, Copy)]
struct Facts<'a>(&'a Value);

impl Facts<'_> {
    fn text(self, name: &str) -> String {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    fn number(self, name: &str) -> u64 {
        self.0.get(name).and_then(Value::as_u64).unwrap_or_default()
    }

    fn moment(self, name: &str) -> String {
        moment::write(self.number(name))
    }

    fn money(self, name: &str) -> String {
        of_micros(self.0.get(name).and_then(Value::as_i64).unwrap_or_default())
    }

    fn credential(self) -> String {
        format!("credential {} ({})", self.text("display_name"), self.text("provider"))
    }

    fn budget(self) -> Notice {
        let (spent, limit) = (self.money("spent_micros"), self.money("limit_micros"));
        let percent = self.number("percent");
        let details =
            if percent >= 100 { "Requests above it are refused, unless the budget only alerts." } else { "" };
        Notice::new(format!("Budget {} is {percent} % used: {spent} of {limit}", self.text("name")), details)
    }

    fn commitment(self) -> Notice {
        let (used, amount) = (self.money("used_micros"), self.money("amount_micros"));
        let name = self.text("display_name");
        match self.text("reason").as_str() {
            "under_used" => Notice::new(
                format!("The commitment of {name} will not be used up: {used} of {amount}"),
                format!("At this pace, {} will be paid for nothing.", self.money("under_used_micros")),
            ),
            _ => Notice::new(
                format!("The commitment of {name} is {} % used: {used} of {amount}", self.number("percent")),
                "",
            ),
        }
    }

    fn alert(self, kind: EventKind) -> Notice {
        let metric = AlertMetric::from_word(&self.text("metric"));
        let rendered =
            |name: &str| metric.map_or_else(String::new, |metric| measured(metric, self.number(name)));
        let (name, what) = (self.text("name"), metric.map_or("", what));
        let window = self.number("window_minutes");
        if kind == EventKind::AlertResolved {
            let headline = format!("Resolved: {name}");
            return Notice::new(
                headline,
                format!("{what} is {} again, at most {}.", rendered("value"), rendered("threshold")),
            );
        }
        Notice::new(
            format!("Alert: {name}"),
            format!(
                "{what} is {} over the last {window} minutes, above {}.",
                rendered("value"),
                rendered("threshold")
            ),
        )
    }

    fn digest(self) -> Notice {
        let change = |now: &str, before: &str| {
            let (now, before) = (self.number(now), self.number(before));
            match before {
                0 => String::new(),
                _ => {
                    let percent = (i128::from(now) - i128::from(before)) * 100 / i128::from(before);
                    format!(" ({percent:+} %)")
                }
            }
        };
        let headline = format!(
            "Last week: {} spent{}",
            self.money("spend_micros"),
            change("spend_micros", "spend_before_micros")
        );
        let requests = self.number("requests");
        let mut lines = vec![format!("{requests} requests{}", change("requests", "requests_before"))];
        if requests > 0 {
            let succeeded =
                requests.saturating_sub(self.number("failed")).saturating_sub(self.number("refused"));
            let tenths = u128::from(succeeded) * 1_000 / u128::from(requests);
            lines.push(format!(
                "{}.{} % succeeded, {} failed, {} refused",
                tenths / 10,
                tenths % 10,
                self.number("failed"),
                self.number("refused")
            ));
        }
        for model in self.0.get("models").and_then(Value::as_array).into_iter().flatten() {
            let model = Facts(model);
            lines.push(format!(
                "{}: {}, {} requests",
                model.text("model"),
                model.money("spend_micros"),
                model.number("requests")
            ));
        }
        Notice::new(headline, lines.join("\n"))
    }
}

/// What a metric is, at the beginning of a sentence.
const fn what(metric: AlertMetric) -> &'static str {
    match metric {
        AlertMetric::Spend => "Spend",
        AlertMetric::Requests => "The number of requests",
        AlertMetric::Refused => "The number of refused requests",
        AlertMetric::ErrorPercent => "The share of failed requests",
        AlertMetric::Latency => "The 95th percentile of latency",
        AlertMetric::FirstByte => "The 95th percentile of the time to the first byte",
    }
}

/// A value of a metric with its unit.
fn measured(metric: AlertMetric, value: u64) -> String {
    match metric {
        AlertMetric::Spend => of_micros(i64::try_from(value).unwrap_or(i64::MAX)),
        AlertMetric::Requests | AlertMetric::Refused => value.to_string(),
        AlertMetric::ErrorPercent => format!("{value} %"),
        AlertMetric::Latency | AlertMetric::FirstByte => format!("{value} ms"),
    }
}

fn of_micros(micros: i64) -> String {
    Nanos(micros.saturating_mul(1_000)).to_string()
}

#[cfg(test)]
mod tests {
    use domain::{EventId, WorkspaceId};
    use serde_json::json;

    use super::*;

    fn notice(kind: EventKind, payload: Value) -> String {
        let (id, workspace) = (EventId::new(1, [1; 10]), WorkspaceId::new(1, [2; 10]));
        let Notice { headline, details } =
            Notice::of(&EventRow { id, workspace, kind, payload, created_unix_ms: 1 });
        if details.is_empty() { headline } else { format!("{headline} | {details}") }
    }

    #[test]
    fn events_in_words() {
        let credential = json!({"provider": "openai", "display_name": "ours", "days_left": 1});
        let alert = json!({"name": "spend of checkout", "metric": "spend_micros", "value": 12_340_000, "threshold": 10_000_000, "window_minutes": 60});
        let week = json!({"spend_micros": 5_000_000, "spend_before_micros": 4_000_000, "requests": 200, "requests_before": 0,
            "failed": 3, "refused": 1, "models": [{"model": "gpt-4o", "spend_micros": 4_000_000, "requests": 150}]});
        for (kind, payload, expected) in [
            (EventKind::CredentialExpiring, credential.clone(), "credential ours (openai) expires in 1 day"),
            (
                EventKind::CredentialInvalid,
                credential,
                "openai refuses credential ours (openai) | Rotate the credential: nothing is sent with it until then.",
            ),
            (
                EventKind::BudgetAlert,
                json!({"name": "checkout", "percent": 80, "spent_micros": 400_000, "limit_micros": 500_000}),
                "Budget checkout is 80 % used: $0.40 of $0.50",
            ),
            (
                EventKind::AlertFiring,
                alert.clone(),
                "Alert: spend of checkout | Spend is $12.34 over the last 60 minutes, above $10.00.",
            ),
            (
                EventKind::AlertResolved,
                alert,
                "Resolved: spend of checkout | Spend is $12.34 again, at most $10.00.",
            ),
            (
                EventKind::InvoiceFinalised,
                json!({"period_start_unix_ms": 0, "total_micros": 1_234}),
                "The invoice for 1970-01 is final: $0.001234",
            ),
            (
                EventKind::WeeklyDigest,
                week,
                "Last week: $5.00 spent (+25 %) | 200 requests\n98.0 % succeeded, 3 failed, 1 refused\ngpt-4o: $4.00, 150 requests",
            ),
        ] {
            assert_eq!(notice(kind, payload), expected);
        }
    }

    #[test]
    fn every_kind_has_words() {
        for kind in EventKind::ALL {
            assert!(notice(kind, json!({})).len() > 5, "{kind:?}");
        }
    }
}
