//! What a policy allows, in one text.

use database::error::StoreError;
use database::fields::{self};
use domain::{
    ContentCheck, DataBoundary, ModelPattern, PolicyHook, PolicySpec, Profile, RegionPolicy, RequestRules,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

const TABLE: &str = "policies";

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Stored {
    providers: Vec<String>,
    /// The fixed part of each model pattern: the previous version reads each of them as a prefix.
    models: Vec<String>,
    /// Those of them that are exact names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    exact_models: Vec<String>,
    regions: Vec<String>,
    profiles: Vec<String>,
    retention: Value,
    compliance: Vec<String>,
    region_policy: RegionPolicy,
    data_boundary: DataBoundary,
    request: RequestRules,
    checks: Vec<ContentCheck>,
    hooks: Vec<PolicyHook>,
}

/// What a policy allows.
pub fn policy_to_text(spec: &PolicySpec) -> Result<String, StoreError> {
    let patterns = || spec.models.iter().map(|pattern| ModelPattern::read(pattern));
    let is_prefix = |fixed: &str| patterns().any(|other| other == ModelPattern::Prefix(fixed));
    let exact = patterns().filter(|pattern| pattern.is_exact() && !is_prefix(pattern.fixed()));
    let stored = Stored {
        providers: spec.providers.clone(),
        models: patterns().map(|pattern| pattern.fixed().to_owned()).collect(),
        exact_models: exact.map(|pattern| pattern.fixed().to_owned()).collect(),
        regions: spec.regions.clone(),
        profiles: spec.profiles.iter().map(|profile| profile.as_str().to_owned()).collect(),
        retention: crate::retention_to_value(spec.retention),
        compliance: spec.compliance.clone(),
        region_policy: spec.region_policy,
        data_boundary: spec.data_boundary,
        request: spec.request.clone(),
        checks: spec.checks.clone(),
        hooks: spec.hooks.clone(),
    };
    fields::to_text(TABLE, &stored)
}

/// What a policy allows.
///
/// # Errors
/// It can't be read: it may forbid more than is understood, and is never read as a weaker one.
pub fn policy_from_text(text: &str) -> Result<PolicySpec, StoreError> {
    let stored: Stored = fields::from_text(TABLE, text)?;
    let wrong = |what: &str| StoreError::corrupt(TABLE, format!("{what} can't be read"));
    let profile = |name: &String| name.parse::<Profile>().map_err(|_| wrong("profiles"));
    let agreed = crate::retention_from_value(&stored.retention);
    if agreed.is_none() && !stored.retention.is_null() {
        return Err(wrong("retention"));
    }
    let pattern = |fixed: &String| crate::pattern_text(fixed, stored.exact_models.contains(fixed));
    Ok(PolicySpec {
        profiles: stored.profiles.iter().map(profile).collect::<Result<_, _>>()?,
        providers: stored.providers,
        models: stored.models.iter().map(pattern).collect(),
        regions: stored.regions,
        retention: agreed,
        compliance: stored.compliance,
        region_policy: stored.region_policy,
        data_boundary: stored.data_boundary,
        request: stored.request,
        checks: stored.checks,
        hooks: stored.hooks,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_kept_as_the_version_before_reads_them() {
        let spec = |models: &[&str]| PolicySpec {
            models: models.iter().map(|model| (*model).to_owned()).collect(),
            ..PolicySpec::default()
        };
        for (given, read) in
            [(&["a/b", "a/c*", "d/"][..], &["a/b", "a/c*", "d/"][..]), (&["a/b", "a/b*"], &["a/b*", "a/b*"])]
        {
            assert_eq!(
                policy_from_text(&policy_to_text(&spec(given)).unwrap()).unwrap(),
                spec(read),
                "{given:?}"
            );
        }
        let old = r#"{"models": ["openai/gpt-4o", "anthropic/"]}"#;
        assert_eq!(policy_from_text(old).unwrap(), spec(&["openai/gpt-4o*", "anthropic/"]));
    }

    #[test]
    fn what_can_not_be_read_is_no_weaker_policy() {
        assert_eq!(policy_from_text("{}").unwrap(), PolicySpec::default());
        // A hook of a version before it could ask for content.
        let hook = r#"{"at":"post","url":"https://a.example","timeout_ms":5,"on_silence":"allow"}"#;
        let read = policy_from_text(&format!(r#"{{"hooks":[{hook}]}}"#)).unwrap();
        assert!(!read.hooks[0].reads_content);
        assert!(policy_from_text(r#"{"retention": "soon"}"#).is_err());
        assert!(policy_from_text(r#"{"profiles": ["friends"]}"#).is_err());
    }
}
