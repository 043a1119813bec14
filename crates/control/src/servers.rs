//! What compatible servers support: probed when one is registered and on request, or stated manually.

use std::collections::BTreeMap;

use api::failure::invalid;
use api::moment::Moment;
use domain::{Fault, Finding, ServerFacts, ServerFeature};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The settings of a probe.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Probe")]
pub struct ProbeInput {
    /// The model to probe; by default the first that it serves.
    pub model: Option<String>,
}

/// The known features of a server, and how they were found out.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Server")]
pub struct ServerView {
    /// When it was last requested; absent if never.
    probed_at: Option<Moment>,
    /// The model that was probed.
    model: Option<String>,
    /// Why the probe did not find out everything.
    error: Option<String>,
    facts: Vec<FactView>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ServerFact")]
struct FactView {
    name: &'static str,
    /// `true`, `false` or a word; absent if it is not verified.
    value: Value,
    #[schemars(extend("enum" = ["unverified", "probed", "stated"]))]
    evidence: &'static str,
    /// When it was first known.
    at: Option<Moment>,
}

pub fn show(facts: &ServerFacts) -> ServerView {
    let probed = facts.probed.as_ref();
    let fact = |of: ServerFeature| {
        let (finding, evidence) = facts.of(of);
        FactView {
            name: of.name(),
            value: finding.map_or(Value::Null, |finding| value_of(&finding)),
            evidence: evidence.as_str(),
            at: finding.map(|finding| Moment(finding.unix_ms)),
        }
    };
    ServerView {
        probed_at: probed.map(|probed| Moment(probed.unix_ms)),
        model: probed.and_then(|probed| probed.model.clone()),
        error: probed.and_then(|probed| probed.error.clone()),
        facts: ServerFeature::all().map(fact).collect(),
    }
}

/// The manually stated facts, by name.
pub fn stated(facts: &ServerFacts) -> BTreeMap<String, Value> {
    facts.stated.iter().map(|finding| (finding.feature.name().to_owned(), value_of(finding))).collect()
}

fn value_of(finding: &Finding) -> Value {
    finding.flag().map_or_else(|| finding.value.into(), Value::Bool)
}

/// Reads stated facts; one that was already stated keeps its date.
pub fn read_stated(
    facts: &BTreeMap<String, Value>,
    before: &[Finding],
    now_unix_ms: u64,
) -> Result<Vec<Finding>, Box<Fault>> {
    let read = |(name, value): (&String, &Value)| {
        let finding = read_fact(name, value, now_unix_ms)?;
        let same = before.iter().find(|old| (old.feature, old.value) == (finding.feature, finding.value));
        Ok(*same.unwrap_or(&finding))
    };
    facts.iter().filter(|(_, value)| !value.is_null()).map(read).collect()
}

fn read_fact(name: &str, value: &Value, unix_ms: u64) -> Result<Finding, Box<Fault>> {
    let param = format!("stated_facts.{name}");
    let Some(of) = ServerFeature::named(name) else {
        let names: Vec<&str> = ServerFeature::all().map(ServerFeature::name).collect();
        return Err(invalid(
            param,
            format!("\"{name}\" isn't a fact of a server."),
            format!("Use one of {}.", names.join(", ")),
        ));
    };
    let word = match value {
        Value::Bool(true) => "yes",
        Value::Bool(false) => "no",
        Value::String(word) => word,
        _ => "",
    };
    of.found(word, unix_ms).ok_or_else(|| {
        let fix = format!("Use one of {}.", of.values().join(", "));
        invalid(param, format!("\"{name}\" can't be {value}."), fix)
    })
}
