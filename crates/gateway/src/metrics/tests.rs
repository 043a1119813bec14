//! The page, its documentation, and the dashboard that reads it.

use domain::Nanos;
use serde_json::Value;

use super::*;

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs");

#[test]
fn sums_are_written_once_per_family() {
    let sums = BTreeMap::from([
        (("answers", "2xx"), 5),
        (("answers", "4xx"), 1),
        (("connections", ""), 3),
        (("refusals", "invalid_api_key"), 1),
    ]);
    let page = render(&sums);
    assert_eq!(page.matches("# TYPE tidegate_answers_total counter").count(), 1);
    assert!(page.contains("tidegate_answers_total{class=\"2xx\"} 5\n"));
    assert!(page.contains("tidegate_connections 3\n"));
    assert!(page.contains("tidegate_refusals_total{code=\"invalid_api_key\"} 1\n"));
}

#[test]
fn settled_requests_are_written_with_their_labels_money_and_times() {
    let labels = Labels {
        provider: "openai".to_owned(),
        model: "openai/a\"b\\".to_owned(),
        profile: "byok",
        outcome: "completed",
    };
    let mut sums = SettledSums { requests: 2, cost: Nanos(1_000_000_001), ..SettledSums::default() };
    sums.tokens[0] = 7;
    sums.latency.sum_us = 1_300_000;
    (sums.latency.buckets[0], sums.latency.buckets[4], sums.latency.buckets[13]) = (1, 1, 1);
    let mut page = String::new();
    render_settled(&mut page, &[(labels, sums)]);
    let set = r#"provider="openai",model="openai/a\"b\\",profile="byok",outcome="completed""#;
    for line in [
        format!("tidegate_requests_total{{{set}}} 2\n"),
        format!("tidegate_tokens_total{{{set},kind=\"input\"}} 7\n"),
        format!("tidegate_cost_usd_total{{{set}}} 1.000000001\n"),
        format!("tidegate_provider_cost_usd_total{{{set}}} 0\n"),
        format!("tidegate_request_duration_seconds_bucket{{{set},le=\"0.05\"}} 1\n"),
        format!("tidegate_request_duration_seconds_bucket{{{set},le=\"1\"}} 2\n"),
        format!("tidegate_request_duration_seconds_bucket{{{set},le=\"300\"}} 2\n"),
        format!("tidegate_request_duration_seconds_bucket{{{set},le=\"+Inf\"}} 3\n"),
        format!("tidegate_request_duration_seconds_sum{{{set}}} 1.3\n"),
        format!("tidegate_request_duration_seconds_count{{{set}}} 3\n"),
    ] {
        assert!(page.contains(&line), "{line}{page}");
    }
    assert!(!page.contains("tidegate_first_byte_seconds_count"), "nothing streamed: {page}");
}

/// Whatever is in the page is in the table, which has one family of a name.
#[test]
fn every_counter_of_a_core_is_in_the_table() {
    let counters = line::Counters::default();
    counters.answered(200);
    counters.refused("invalid_api_key");
    counters.replayed();
    counters.cache_hit();
    counters.hook_called(domain::HookOutcome::Allowed);
    for (id, ..) in counters.snapshot() {
        assert!(family(id).is_some(), "{id}");
    }
    for one in FAMILIES {
        let same = FAMILIES.iter().filter(|other| other.name() == one.name()).count();
        assert_eq!(same, 1, "{}", one.id);
    }
}

fn reference() -> String {
    let mut page = String::from(
        "# Metrics\n\n`GET /metrics` serves the counters of one gateway in Prometheus' text format; [scrape metrics](how-to/scrape-metrics.md) shows how to\n\
         collect them. They start at zero with the process. Generated from the table in `crates/gateway/src/metrics.rs` (`UPDATE_DOCS=1`).\n\n\
         | name | type | labels | meaning |\n|---|---|---|---|\n",
    );
    for family in FAMILIES {
        let (name, Family { kind, labels, help, .. }) = (family.name(), family);
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        let _ = writeln!(page, "| `{name}` | {kind} | {} | {help} |", labels.join(", "));
    }
    page.push_str(
        "\n## Settled requests\n\nThe families with `provider`, `model`, `profile` and `outcome` count a request within about a second of its end, when its record reaches the\n\
         database. `profile` is `byok`, `byoc`, `managed_provider` or `subscription`, and empty if nothing was called. A data plane counts what it serves;\n\
         its control plane doesn't count it again. Records that a restart recovers from the journal are in [usage](api.md), not here.\n\n\
         They cover all workspaces, so a key sees them only with the scope `operator`; from the machine itself no key is needed.\n\n\
         At most 512 combinations of the four labels are kept until a restart. Each workspace can add one while it has fewer of them than are still free. Further\n\
         ones count under `provider=\"other\"` and `model=\"other\"`, with their profile and outcome, so sums over all models stay complete.\n\n\
         ## Dashboard\n\n[`grafana.json`](grafana.json) is a Grafana dashboard of these metrics: import it and choose a Prometheus data source.\n",
    );
    page
}

#[test]
fn the_reference_page_is_up_to_date() {
    let path = format!("{DOCS}/metrics.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, reference()).unwrap();
    }
    let page = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(page, reference(), "run the tests of this crate with UPDATE_DOCS=1");
}

/// Every query of the dashboard.
fn queries(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            let text = |key: &str| fields.get(key).and_then(Value::as_str).map(str::to_owned);
            found.extend(text("expr").or_else(|| text("query").filter(|text| text.contains("tidegate_"))));
            fields.values().for_each(|field| queries(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| queries(item, found)),
        _ => {}
    }
}

#[test]
fn the_dashboard_reads_metrics_that_exist() {
    let dashboard: Value =
        serde_json::from_str(&std::fs::read_to_string(format!("{DOCS}/grafana.json")).unwrap()).unwrap();
    let mut found = Vec::new();
    queries(&dashboard, &mut found);
    let words = |text: &str| -> Vec<String> {
        let is_part = |one: char| one.is_ascii_alphanumeric() || one == '_';
        text.split(|one| !is_part(one)).map(str::to_owned).collect()
    };
    let used: Vec<_> = found.iter().flat_map(|query| words(query)).collect();
    let names: Vec<_> = used.iter().filter(|word| word.starts_with("tidegate_")).collect();
    let series = |family: &Family| match family.kind {
        "histogram" => ["_bucket", "_sum", "_count"].map(|end| format!("{}{end}", family.name())).to_vec(),
        _ => vec![family.name()],
    };
    for name in &names {
        assert!(FAMILIES.iter().any(|family| series(family).contains(name)), "{name} isn't a metric");
    }
    for family in FAMILIES.iter().filter(|family| family.labels.starts_with(SETTLED)) {
        assert!(series(family).iter().any(|name| names.contains(&name)), "no panel shows {}", family.name());
    }
}
