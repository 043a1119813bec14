//! `/metrics`: collects each core's counters, and writes the sums as Prometheus text.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use tokio::sync::{mpsc, oneshot};

use crate::limits::COUNTER_TIME_MAX;

/// The counters of one core: family, label value, count.
pub(crate) type Counted = Vec<(&'static str, &'static str, u64)>;

/// A request for a core's counters.
pub(crate) type Question = oneshot::Sender<Counted>;

/// The channels to all cores.
#[derive(Clone)]
pub(crate) struct Cores(pub Vec<mpsc::Sender<Question>>);

impl Cores {
    /// The sums over all cores.
    pub async fn page(&self) -> String {
        let answers: Vec<_> = self.0.iter().map(query).collect();
        let mut sums: BTreeMap<(&'static str, &'static str), u64> = BTreeMap::new();
        let mut silent = 0_u64;
        for answer in answers {
            match tokio::time::timeout(COUNTER_TIME_MAX, answer).await {
                Ok(Ok(counted)) => {
                    for (family, label, count) in counted {
                        *sums.entry((family, label)).or_default() += count;
                    }
                }
                _ => silent += 1,
            }
        }
        for (runtime, delay) in tasks::delays() {
            let delay_us = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
            sums.insert(("runtime_delay", runtime), delay_us);
        }
        render(&sums, silent)
    }
}

fn query(core: &mpsc::Sender<Question>) -> oneshot::Receiver<Counted> {
    let (question, answer) = oneshot::channel();
    // A full queue drops the request, and its answer then fails at once.
    let _ = core.try_send(question);
    answer
}

fn render(sums: &BTreeMap<(&'static str, &'static str), u64>, silent: u64) -> String {
    let mut page = String::new();
    let mut last = "";
    for ((family, label), count) in sums {
        let (name, key, kind, help) = describe(family);
        if last != *family {
            let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
            last = family;
        }
        let _ = if label.is_empty() {
            writeln!(page, "{name} {count}")
        } else {
            writeln!(page, "{name}{{{key}=\"{label}\"}} {count}")
        };
    }
    let _ = writeln!(
        page,
        "# HELP tidegate_cores_silent Cores that did not answer in time and are missing here.\n\
         # TYPE tidegate_cores_silent gauge\ntidegate_cores_silent {silent}"
    );
    page
}

/// Name, label, type and help of a family.
fn describe(family: &str) -> (&'static str, &'static str, &'static str, &'static str) {
    match family {
        "answers" => ("tidegate_answers_total", "class", "counter", "Answers by status class."),
        "refusals" => ("tidegate_refusals_total", "code", "counter", "Refused or failed requests by code."),
        "policy_refusals" => (
            "tidegate_policy_refusals_total",
            "rule",
            "counter",
            "Requests that a policy refused, by its rule.",
        ),
        "policy_hooks" => {
            ("tidegate_policy_hooks_total", "outcome", "counter", "Calls of policy hooks, by outcome.")
        }
        "idempotent_replays" => {
            ("tidegate_idempotent_replays_total", "", "counter", "Answers repeated for an idempotency key.")
        }
        "response_cache_hits" => {
            ("tidegate_response_cache_hits_total", "", "counter", "Answers served from the response cache.")
        }
        "connections" => ("tidegate_connections", "", "gauge", "Open connections from clients."),
        "upstream_connections" => {
            ("tidegate_upstream_connections", "", "gauge", "Open connections to providers and nodes.")
        }
        "in_flight" => (
            "tidegate_requests_in_flight",
            "",
            "gauge",
            "Requests to providers and nodes that are not answered yet.",
        ),
        "journal_damage" => (
            "tidegate_journal_damage",
            "",
            "gauge",
            "Damaged journals: noted before the start and not removed, or found since.",
        ),
        "journal_records_missing" => (
            "tidegate_journal_records_missing",
            "",
            "gauge",
            "Settled records that damaged journals are known to lack.",
        ),
        "runtime_delay" => (
            "tidegate_runtime_delay_microseconds",
            "runtime",
            "gauge",
            "How late a runtime woke who asked to be woken: the longest of the last minute or two.",
        ),
        "share_refusals" => (
            "tidegate_share_refusals_total",
            "",
            "counter",
            "Requests refused because their workspace had its full share in flight on a busy thread.",
        ),
        _ => ("tidegate_other_total", "label", "counter", "Counters that have no metric name."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_written_once_per_family() {
        let sums = BTreeMap::from([
            (("answers", "2xx"), 5),
            (("answers", "4xx"), 1),
            (("connections", ""), 3),
            (("refusals", "invalid_api_key"), 1),
        ]);
        let page = render(&sums, 0);
        assert_eq!(page.matches("# TYPE tidegate_answers_total counter").count(), 1);
        assert!(page.contains("tidegate_answers_total{class=\"2xx\"} 5\n"));
        assert!(page.contains("tidegate_connections 3\n"));
        assert!(page.contains("tidegate_refusals_total{code=\"invalid_api_key\"} 1\n"));
    }
}
