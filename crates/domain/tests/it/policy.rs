//! The tests of `domain::policy`.

mod boundary;
mod loosening;
mod request_rules;

use domain::{PolicyRule, PolicySpec, RegionPolicy};

#[test]
fn a_model_is_allowed_by_its_name_or_a_pattern_of_it() {
    let spec = |models: &[&str]| PolicySpec {
        models: models.iter().map(|model| (*model).to_owned()).collect(),
        ..PolicySpec::default()
    };
    assert!(spec(&[]).allows_model("openai/gpt-4o"));
    assert!(spec(&["anthropic/", "openai/gpt-4o*"]).allows_model("openai/gpt-4o-mini"));
    assert!(spec(&["anthropic/"]).allows_model("anthropic/claude-haiku-4-5"));
    assert!(!spec(&["anthropic/", "openai/gpt-4o"]).allows_model("openai/gpt-4o-mini"));
    assert!(!spec(&["anthropic/"]).allows_model("openai/gpt-4o"));
}

#[test]
fn a_region_is_allowed_by_its_name_and_by_where_it_lies() {
    let spec = |regions: &[&str], region_policy| PolicySpec {
        regions: regions.iter().map(|region| (*region).to_owned()).collect(),
        region_policy,
        ..PolicySpec::default()
    };
    let (any, eu) = (RegionPolicy::Any, RegionPolicy::EuOnly);
    for (spec, region, forbidden) in [
        (spec(&[], any), "mars", None),
        (spec(&["eu-west-1"], any), "EU-West-1", None),
        (spec(&["eu-west-1"], any), "eu-west-3", Some(PolicyRule::Regions)),
        (spec(&[], eu), "eu-west-1", None),
        (spec(&[], eu), "westeurope", None),
        (spec(&[], eu), "us-east-1", Some(PolicyRule::RegionPolicy)),
        (spec(&[], eu), "eu-west-2", Some(PolicyRule::RegionPolicy)),
        (spec(&[], eu), "global", Some(PolicyRule::RegionPolicy)),
        (spec(&["eu-west-1"], eu), "eu-west-3", Some(PolicyRule::Regions)),
        (spec(&["us-east-1"], eu), "us-east-1", Some(PolicyRule::RegionPolicy)),
    ] {
        assert_eq!(spec.forbids_region(region), forbidden, "{spec:?} {region}");
    }
}
