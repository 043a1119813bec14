//! `/metrics`: collects each core's counters and the sums over settled requests, and writes them as Prometheus text.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use line::{BUCKETS_MS, Labels, SettledCounts, SettledSums, TOKEN_KINDS, Times};
use tokio::sync::{mpsc, oneshot};

use crate::limits::COUNTER_TIME_MAX;

/// A family of `/metrics`. The page and its documentation are made from the table below.
struct Family {
    /// The name without the prefix of all names and the suffix of all counters.
    id: &'static str,
    kind: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
}

impl Family {
    fn name(&self) -> String {
        format!("tidegate_{}{}", self.id, if self.kind == COUNTER { "_total" } else { "" })
    }
}

const fn row(
    id: &'static str,
    kind: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Family {
    Family { id, kind, labels, help }
}

const COUNTER: &str = "counter";
const GAUGE: &str = "gauge";
const HISTOGRAM: &str = "histogram";
/// The labels of settled requests.
const SETTLED: &[&str] = &["provider", "model", "profile", "outcome"];
const TOKENS: &[&str] = &["provider", "model", "profile", "outcome", "kind"];

const FAMILIES: &[Family] = &[
    row("answers", COUNTER, &["class"], "Answers by status class."),
    row("connections", GAUGE, &[], "Open connections from clients."),
    row("cores_silent", GAUGE, &[], "Cores that did not answer in time and are missing here."),
    row("idempotent_replays", COUNTER, &[], "Answers repeated for an idempotency key."),
    row("journal_damage", GAUGE, &[], "Damaged journals, noted before and not removed, or found since."),
    row("journal_records_missing", GAUGE, &[], "Settled records that damaged journals are known to lack."),
    row("other", COUNTER, &["label"], "Counters that have no metric name."),
    row("policy_hooks", COUNTER, &["outcome"], "Calls of policy hooks, by outcome."),
    row("policy_refusals", COUNTER, &["rule"], "Requests that a policy refused, by its rule."),
    row("refusals", COUNTER, &["code"], "Refused or failed requests by code."),
    row("requests_in_flight", GAUGE, &[], "Requests to providers and nodes that are not answered yet."),
    row("response_cache_hits", COUNTER, &[], "Answers served from the response cache."),
    row(
        "runtime_delay_microseconds",
        GAUGE,
        &["runtime"],
        "How late a runtime woke who asked, the most of the last minute or two.",
    ),
    row("share_refusals", COUNTER, &[], "Requests refused at their workspace's full share of a busy thread."),
    row("upstream_connections", GAUGE, &[], "Open connections to providers and nodes."),
    row("requests", COUNTER, SETTLED, "Settled requests, as usage counts them."),
    row("tokens", COUNTER, TOKENS, "Tokens by kind; input is without those of the other kinds."),
    row("cost_usd", COUNTER, SETTLED, "What workspaces owe the operator, in US dollars."),
    row("provider_cost_usd", COUNTER, SETTLED, "What providers charge, for own keys too, in US dollars."),
    row("unpriced_requests", COUNTER, SETTLED, "Settled requests without a known price."),
    row("request_duration_seconds", HISTOGRAM, SETTLED, "First byte of a request until it is settled."),
    row("first_byte_seconds", HISTOGRAM, SETTLED, "First byte of a stream until its first content is sent."),
];

fn family(id: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| family.id == id)
}

/// The counters of one core: family, label value, count.
pub(crate) type Counted = Vec<(&'static str, &'static str, u64)>;

/// A request for a core's counters.
pub(crate) type Question = oneshot::Sender<Counted>;

/// The channels to all cores, and the sums over the requests that they settled.
#[derive(Clone)]
pub(crate) struct Cores {
    pub questions: Vec<mpsc::Sender<Question>>,
    pub settled: Arc<SettledCounts>,
}

impl Cores {
    /// The sums over all cores, and for the operator those over settled requests: the calls and the spend of all workspaces.
    pub async fn page(&self, is_operator: bool) -> String {
        let answers: Vec<_> = self.questions.iter().map(query).collect();
        let mut sums: BTreeMap<(&'static str, &'static str), u64> = BTreeMap::new();
        for answer in answers {
            match tokio::time::timeout(COUNTER_TIME_MAX, answer).await {
                Ok(Ok(counted)) => {
                    for (family, label, count) in counted {
                        *sums.entry((family, label)).or_default() += count;
                    }
                }
                _ => *sums.entry(("cores_silent", "")).or_default() += 1,
            }
        }
        for (runtime, delay) in tasks::delays() {
            let delay_us = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
            sums.insert(("runtime_delay_microseconds", runtime), delay_us);
        }
        sums.entry(("cores_silent", "")).or_default();
        let mut page = render(&sums);
        if is_operator {
            render_settled(&mut page, &self.settled.sums());
        }
        page
    }
}

fn query(core: &mpsc::Sender<Question>) -> oneshot::Receiver<Counted> {
    let (question, answer) = oneshot::channel();
    // A full queue drops the request, and its answer then fails at once.
    let _ = core.try_send(question);
    answer
}

fn head(page: &mut String, family: &Family) {
    let (name, Family { kind, help, .. }) = (family.name(), family);
    let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn render(sums: &BTreeMap<(&'static str, &'static str), u64>) -> String {
    let mut page = String::new();
    let mut last = "";
    for ((id, label), count) in sums {
        let Some(family) = family(id).or_else(|| family("other")) else { continue };
        if last != *id {
            head(&mut page, family);
            last = id;
        }
        let _ = match family.labels {
            [key, ..] => writeln!(page, "{}{{{key}=\"{label}\"}} {count}", family.name()),
            [] => writeln!(page, "{} {count}", family.name()),
        };
    }
    page
}

fn render_settled(page: &mut String, sets: &[(Labels, SettledSums)]) {
    let sets: Vec<_> = sets.iter().map(|(labels, sums)| (pairs(labels), sums)).collect();
    let of_settled = FAMILIES.iter().filter(|family| family.labels.starts_with(SETTLED));
    for family in of_settled.filter(|_| !sets.is_empty()) {
        head(page, family);
        for (pairs, sums) in &sets {
            render_set(page, family, pairs, sums);
        }
    }
}

fn render_set(page: &mut String, family: &Family, pairs: &str, sums: &SettledSums) {
    let name = &family.name();
    let mut line = |value: &dyn std::fmt::Display| _ = writeln!(page, "{name}{{{pairs}}} {value}");
    match family.id {
        "requests" => line(&sums.requests),
        "unpriced_requests" => line(&sums.unpriced),
        "cost_usd" => line(&decimal(sums.cost.0.unsigned_abs(), 9)),
        "provider_cost_usd" => line(&decimal(sums.provider_cost.0.unsigned_abs(), 9)),
        "request_duration_seconds" => render_times(page, name, pairs, &sums.latency),
        "first_byte_seconds" => render_times(page, name, pairs, &sums.first_byte),
        _ => {
            for (kind, tokens) in TOKEN_KINDS.iter().zip(sums.tokens).filter(|(_, tokens)| *tokens > 0) {
                let _ = writeln!(page, "{name}{{{pairs},kind=\"{kind}\"}} {tokens}");
            }
        }
    }
}

fn render_times(page: &mut String, name: &str, pairs: &str, times: &Times) {
    let count: u64 = times.buckets.iter().sum();
    if count == 0 {
        return;
    }
    let mut below = 0;
    for (bound, within) in BUCKETS_MS.iter().zip(times.buckets) {
        below += within;
        let _ = writeln!(page, "{name}_bucket{{{pairs},le=\"{}\"}} {below}", decimal(*bound, 3));
    }
    let _ = writeln!(page, "{name}_bucket{{{pairs},le=\"+Inf\"}} {count}");
    let _ = writeln!(page, "{name}_sum{{{pairs}}} {}", decimal(times.sum_us, 6));
    let _ = writeln!(page, "{name}_count{{{pairs}}} {count}");
}

/// A set of labels as Prometheus writes it. Names of models come from customers.
fn pairs(Labels { provider, model, profile, outcome }: &Labels) -> String {
    let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let (provider, model) = (escaped(provider), escaped(model));
    format!("provider=\"{provider}\",model=\"{model}\",profile=\"{profile}\",outcome=\"{outcome}\"")
}

/// A whole number of the last of so many decimal places, as an exact decimal.
fn decimal(value: u64, places: usize) -> String {
    let digits = format!("{value:0>width$}", width = places + 1);
    let (whole, rest) = digits.split_at(digits.len() - places);
    format!("{whole}.{rest}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests;
