//! The texts in which rows hold values that have no column of their own. Each has a separate type, so that the domain types may
//! change freely, and is read also as older versions wrote it.

pub mod agreement;
mod alias_release;
mod policy;

use std::net::IpAddr;

pub use alias_release::{alias_release_from_text, alias_release_to_text};
use database::error::StoreError;
use database::fields::{from_text, to_text};
use domain::{
    ByokFallback, FallbackClass, Finding, ModelFallback, ModelFallbackClass, ModelPattern, Price,
    ProbeResult, Profile, Rates, Retention, RouteConditions, RouteScope, RouteSpec, ServerFacts,
    ServerFeature, Strategy, TimeWindow, UnitRates, Weekdays,
};
pub use policy::{policy_from_text, policy_to_text};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use snapshot::{CredentialState, IpNet, Scopes};

/// The scopes of a key.
pub fn scopes_to_text(scopes: Scopes) -> String {
    let named = [
        (scopes.inference, "inference"),
        (scopes.read, "read"),
        (scopes.admin, "admin"),
        (scopes.operator, "operator"),
    ];
    named.into_iter().filter(|(set, _)| *set).map(|(_, name)| name).collect::<Vec<_>>().join(",")
}

/// The scopes of a key.
pub fn scopes_from_text(text: &str) -> Scopes {
    let has = |name| text.split(',').any(|part| part == name);
    Scopes { inference: has("inference"), read: has("read"), admin: has("admin"), operator: has("operator") }
}

/// The networks that may use a key.
pub fn networks_to_text(networks: &[IpNet]) -> String {
    let texts = networks.iter().map(|net| format!("{}/{}", net.address, net.prefix_bits));
    texts.collect::<Vec<_>>().join(",")
}

/// The networks that may use a key.
pub fn networks_from_text(text: &str) -> Result<Vec<IpNet>, StoreError> {
    text.split(',').filter(|part| !part.is_empty()).map(network).collect()
}

fn network(text: &str) -> Result<IpNet, StoreError> {
    // An unreadable network must not turn into "every address is allowed".
    let wrong = || StoreError::corrupt("api_keys", format!("{text} isn't a network"));
    let (address, bits) = text.split_once('/').ok_or_else(wrong)?;
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    Ok(IpNet { address, prefix_bits: bits.parse().map_err(|_| wrong())? })
}

/// The state of a credential.
pub fn state_from_text(text: &str) -> Result<CredentialState, StoreError> {
    let wrong = || StoreError::corrupt("credentials", format!("{text} isn't a state"));
    CredentialState::from_word(text).ok_or_else(wrong)
}

#[derive(Serialize, Deserialize)]
struct StoredRates {
    model: String,
    input: u64,
    output: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cached_read: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cache_write: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cache_write_long: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reasoning: Option<u64>,
    #[serde(default, skip_serializing_if = "is_none")]
    units: UnitRates,
}

fn is_none(units: &UnitRates) -> bool {
    *units == UnitRates::default()
}

/// The prices of a credential or account, by model.
pub fn pricing_to_text(table: &'static str, pricing: &[(String, Rates)]) -> Result<String, StoreError> {
    let price = |price: Option<Price>| price.map(|Price(micros)| micros);
    let stored = pricing.iter().map(|(model, rates)| StoredRates {
        model: model.clone(),
        input: rates.input.0,
        output: rates.output.0,
        cached_read: price(rates.cached_read),
        cache_write: price(rates.cache_write),
        cache_write_long: price(rates.cache_write_long),
        reasoning: price(rates.reasoning),
        units: rates.units,
    });
    to_text(table, &stored.collect::<Vec<_>>())
}

/// The prices of a credential or account, by model.
pub fn pricing_from_text(table: &'static str, text: &str) -> Result<Vec<(String, Rates)>, StoreError> {
    let stored: Vec<StoredRates> = from_text(table, text)?;
    Ok(stored
        .into_iter()
        .map(|s| {
            let rates = Rates {
                input: Price(s.input),
                output: Price(s.output),
                cached_read: s.cached_read.map(Price),
                cache_write: s.cache_write.map(Price),
                cache_write_long: s.cache_write_long.map(Price),
                reasoning: s.reasoning.map(Price),
                units: s.units,
            };
            (s.model, rates)
        })
        .collect())
}

#[derive(Serialize, Deserialize, Default)]
struct StoredServer {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    probed: Option<StoredProbe>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    stated: Vec<StoredFinding>,
}

#[derive(Serialize, Deserialize)]
struct StoredProbe {
    unix_ms: u64,
    model: Option<String>,
    error: Option<String>,
    found: Vec<StoredFinding>,
}

#[derive(Serialize, Deserialize)]
struct StoredFinding {
    of: String,
    value: String,
    unix_ms: u64,
}

fn store_findings(findings: &[Finding]) -> Vec<StoredFinding> {
    let store = |finding: &Finding| StoredFinding {
        of: finding.feature.name().to_owned(),
        value: finding.value.to_owned(),
        unix_ms: finding.unix_ms,
    };
    findings.iter().map(store).collect()
}

/// Skips findings of a newer version that this one does not know: in a rolling upgrade both read the row.
fn read_findings(stored: &[StoredFinding]) -> Vec<Finding> {
    stored
        .iter()
        .filter_map(|stored| ServerFeature::named(&stored.of)?.found(&stored.value, stored.unix_ms))
        .collect()
}

/// What is known of a server.
pub fn server_to_text(table: &'static str, facts: &ServerFacts) -> Result<String, StoreError> {
    let probed = facts.probed.as_ref().map(|probed| StoredProbe {
        unix_ms: probed.unix_ms,
        model: probed.model.clone(),
        error: probed.error.clone(),
        found: store_findings(&probed.findings),
    });
    to_text(table, &StoredServer { probed, stated: store_findings(&facts.stated) })
}

/// What is known of a server.
pub fn server_from_text(table: &'static str, text: &str) -> Result<ServerFacts, StoreError> {
    let stored: StoredServer = from_text(table, text)?;
    let probed = stored.probed.map(|probed| ProbeResult {
        findings: read_findings(&probed.found),
        unix_ms: probed.unix_ms,
        model: probed.model,
        error: probed.error,
    });
    Ok(ServerFacts { probed, stated: read_findings(&stored.stated) })
}

#[derive(Serialize, Deserialize)]
struct StoredRoute {
    scope: StoredScope,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    when: Option<StoredConditions>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    strategy: Option<String>,
    profiles: Vec<String>,
    providers: Vec<String>,
    credential_ids: Vec<String>,
    regions: Vec<String>,
    node_labels: Vec<String>,
    byok_fallback: String,
    fallback_on: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    model_fallbacks: Vec<StoredModelFallback>,
    overflow_managed: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    overflow_own: Option<String>,
    #[serde(default)]
    emergency_allowed: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    drops_hosted_tools: bool,
    head_wait_ms: Option<u64>,
    first_byte_timeout_ms: Option<u64>,
    idle_timeout_ms: Option<u64>,
    deadline_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hedge_after_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    priority: Option<u8>,
}

#[derive(Serialize, Deserialize)]
struct StoredModelFallback {
    on: Vec<String>,
    model: String,
}

impl StoredModelFallback {
    fn of(fallback: &ModelFallback) -> Self {
        let on = fallback.on.iter().map(|class| class.as_str().to_owned());
        Self { on: on.collect(), model: fallback.model.clone() }
    }

    /// `None` without a class that this version knows: in a rolling upgrade a newer one may have written it.
    fn read(self) -> Option<ModelFallback> {
        let on: Vec<_> = self.on.iter().filter_map(|name| ModelFallbackClass::named(name)).collect();
        (!on.is_empty()).then_some(ModelFallback { on, model: self.model })
    }
}

#[derive(Serialize, Deserialize)]
struct StoredScope {
    tag: Option<String>,
    key_id: Option<String>,
    project_id: Option<String>,
    alias: Option<String>,
    /// The pattern's fixed part. The previous version only knows prefixes and reads it as one, so that a rule
    /// which it wrote or left in the store means the same there.
    model: Option<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    model_exact: bool,
    modality: Option<String>,
    provider: Option<String>,
    environment: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct StoredConditions {
    prompt_tokens_min: Option<u64>,
    prompt_tokens_max: Option<u64>,
    has_tools: Option<bool>,
    time: Option<StoredWindow>,
    metadata: Vec<(String, String)>,
    end_user: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct StoredWindow {
    weekdays: Vec<String>,
    from_minute: u16,
    to_minute: u16,
    offset_minutes: i16,
}

impl StoredConditions {
    fn of(when: &RouteConditions) -> Option<Self> {
        if when.is_empty() {
            return None;
        }
        Some(Self {
            prompt_tokens_min: when.prompt_tokens_min,
            prompt_tokens_max: when.prompt_tokens_max,
            has_tools: when.has_tools,
            time: when.time.map(StoredWindow::of),
            metadata: when.metadata.clone(),
            end_user: when.end_user.clone(),
        })
    }

    /// `None` if its time is none.
    fn read(self) -> Option<RouteConditions> {
        let time = match self.time {
            None => None,
            Some(stored) => Some(stored.read()?),
        };
        Some(RouteConditions {
            prompt_tokens_min: self.prompt_tokens_min,
            prompt_tokens_max: self.prompt_tokens_max,
            has_tools: self.has_tools,
            time,
            metadata: self.metadata,
            end_user: self.end_user,
        })
    }
}

impl StoredWindow {
    fn of(window: TimeWindow) -> Self {
        Self {
            weekdays: window.weekdays.names().into_iter().map(str::to_owned).collect(),
            from_minute: window.from_minute(),
            to_minute: window.to_minute(),
            offset_minutes: window.offset_minutes(),
        }
    }

    /// `None` if it is none.
    fn read(self) -> Option<TimeWindow> {
        let weekdays = Weekdays::named(self.weekdays.iter().map(String::as_str))?;
        TimeWindow::new(weekdays, self.from_minute, self.to_minute, self.offset_minutes)
    }
}

/// A part of the week; empty for none.
pub fn window_to_text(window: Option<TimeWindow>) -> String {
    window.map_or_else(String::new, |window| json!(StoredWindow::of(window)).to_string())
}

/// A part of the week, if the text holds one.
pub fn window_from_text(text: &str) -> Option<TimeWindow> {
    serde_json::from_str::<StoredWindow>(text).ok()?.read()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// What a route prescribes.
pub fn route_to_text(spec: &RouteSpec) -> Result<String, StoreError> {
    let scope = &spec.scope;
    let pattern = scope.model.as_deref().map(ModelPattern::read);
    let stored = StoredRoute {
        scope: StoredScope {
            tag: scope.tag.clone(),
            key_id: scope.key_id.map(|id| id.to_string()),
            project_id: scope.project_id.map(|id| id.to_string()),
            alias: scope.alias.clone(),
            model: pattern.map(|pattern| pattern.fixed().to_owned()),
            model_exact: pattern.is_some_and(ModelPattern::is_exact),
            modality: scope.modality.clone(),
            provider: scope.provider.clone(),
            environment: scope.environment.clone(),
        },
        when: StoredConditions::of(&spec.when),
        strategy: (spec.strategy != Strategy::None).then(|| spec.strategy.as_str().to_owned()),
        profiles: spec.profiles.iter().map(|p| p.as_str().to_owned()).collect(),
        providers: spec.providers.clone(),
        credential_ids: spec.credential_ids.iter().map(ToString::to_string).collect(),
        regions: spec.regions.clone(),
        node_labels: spec.node_labels.clone(),
        byok_fallback: spec.byok_fallback.as_str().to_owned(),
        fallback_on: spec.fallback_on.iter().map(|c| c.as_str().to_owned()).collect(),
        model_fallbacks: spec.model_fallbacks.iter().map(StoredModelFallback::of).collect(),
        overflow_managed: spec.overflow_managed,
        overflow_own: spec.overflow_own.map(|id| id.to_string()),
        emergency_allowed: spec.emergency_allowed,
        drops_hosted_tools: spec.drops_hosted_tools,
        head_wait_ms: spec.head_wait_ms,
        first_byte_timeout_ms: spec.first_byte_timeout_ms,
        idle_timeout_ms: spec.idle_timeout_ms,
        deadline_ms: spec.deadline_ms,
        hedge_after_ms: spec.hedge_after_ms,
        priority: spec.priority,
    };
    to_text("routes", &stored)
}

/// The pattern for a stored fixed part.
/// A pattern of model names as people write it.
pub fn pattern_text(fixed: &str, is_exact: bool) -> String {
    let pattern = if is_exact { ModelPattern::Exact(fixed) } else { ModelPattern::Prefix(fixed) };
    pattern.as_text().into_owned()
}

/// What a route prescribes.
pub fn route_from_text(text: &str) -> Result<RouteSpec, StoreError> {
    let stored: StoredRoute = from_text("routes", text)?;
    let scope = stored.scope;
    let wrong = |what: &str| StoreError::corrupt("routes", format!("{what} can't be read"));
    let fallback_class = |name: &String| {
        let found = FallbackClass::ALL.into_iter().find(|class| class.as_str() == name);
        found.ok_or_else(|| wrong("fallback_on"))
    };
    Ok(RouteSpec {
        scope: RouteScope {
            tag: scope.tag,
            key_id: scope.key_id.map(|id| id.parse()).transpose().map_err(|_| wrong("key_id"))?,
            project_id: scope.project_id.map(|id| id.parse()).transpose().map_err(|_| wrong("project_id"))?,
            alias: scope.alias,
            model: scope.model.map(|fixed| pattern_text(&fixed, scope.model_exact)),
            modality: scope.modality,
            provider: scope.provider,
            environment: scope.environment,
        },
        when: match stored.when {
            None => RouteConditions::default(),
            Some(when) => when.read().ok_or_else(|| wrong("when"))?,
        },
        strategy: match stored.strategy {
            None => Strategy::None,
            Some(name) => Strategy::named(&name).ok_or_else(|| wrong("strategy"))?,
        },
        profiles: all(&stored.profiles, |p| p.parse::<Profile>().map_err(|_| wrong("profiles")))?,
        providers: stored.providers,
        credential_ids: all(&stored.credential_ids, |id| id.parse().map_err(|_| wrong("credential_ids")))?,
        regions: stored.regions,
        node_labels: stored.node_labels,
        byok_fallback: ByokFallback::from_word(&stored.byok_fallback)
            .ok_or_else(|| wrong("byok_fallback"))?,
        fallback_on: all(&stored.fallback_on, fallback_class)?,
        model_fallbacks: stored.model_fallbacks.into_iter().filter_map(StoredModelFallback::read).collect(),
        overflow_managed: stored.overflow_managed,
        overflow_own: stored.overflow_own.map(|id| id.parse()).transpose().map_err(|_| wrong("overflow"))?,
        emergency_allowed: stored.emergency_allowed,
        drops_hosted_tools: stored.drops_hosted_tools,
        head_wait_ms: stored.head_wait_ms,
        first_byte_timeout_ms: stored.first_byte_timeout_ms,
        idle_timeout_ms: stored.idle_timeout_ms,
        deadline_ms: stored.deadline_ms,
        hedge_after_ms: stored.hedge_after_ms,
        priority: stored.priority,
    })
}

fn all<T>(texts: &[String], read: impl Fn(&String) -> Result<T, StoreError>) -> Result<Vec<T>, StoreError> {
    texts.iter().map(read).collect()
}

/// How long a provider may retain requests; `null` if nothing is stated.
pub fn retention_to_value(retention: Option<Retention>) -> Value {
    match retention {
        None => Value::Null,
        Some(Retention::Zero) => json!("zero"),
        Some(Retention::Days(days)) => json!({"days": days}),
    }
}

/// How long a provider may retain requests.
pub fn retention_from_value(kept: &Value) -> Option<Retention> {
    if kept == "zero" {
        return Some(Retention::Zero);
    }
    let days = kept.get("days").and_then(Value::as_u64)?;
    u32::try_from(days).ok().map(Retention::Days)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the previous version wrote was a prefix, and what it reads now it takes for one.
    #[test]
    fn a_routes_model_is_kept_as_the_version_before_reads_it() {
        let spec = |model: &str| RouteSpec {
            scope: RouteScope { model: Some(model.to_owned()), ..RouteScope::default() },
            ..RouteSpec::default()
        };
        for (model, fixed, is_exact) in [
            ("openai/gpt-4o", "openai/gpt-4o", true),
            ("openai/gpt-4o*", "openai/gpt-4o", false),
            ("openai/", "openai/", false),
        ] {
            let text = route_to_text(&spec(model)).unwrap();
            assert_eq!(route_from_text(&text).unwrap(), spec(model), "{model}");
            assert!(text.contains(&format!("\"model\":\"{fixed}\"")), "{text}");
            assert_eq!(text.contains("model_exact"), is_exact, "{text}");
        }
        let old = route_to_text(&spec("openai/gpt-4o")).unwrap().replace(",\"model_exact\":true", "");
        assert_eq!(route_from_text(&old).unwrap(), spec("openai/gpt-4o*"));
    }
}
