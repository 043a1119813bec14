//! The tests of `domain::policy::loosening`.

use domain::{
    FileKind, ParameterRule, PolicyRule, PolicySpec, Profile, RegionPolicy, RequestRules, Retention,
    Thousandths, narrowed_models, narrowed_names,
};

fn list(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn check(own: &PolicySpec, wider: &PolicySpec, expected: Option<PolicyRule>) {
    assert_eq!(own.loosens(wider).map(|one| one.rule), expected, "{own:?} in {wider:?}");
}

#[test]
fn a_place_that_the_workspace_does_not_allow_is_found() {
    let providers = |names: &[&str]| PolicySpec { providers: list(names), ..PolicySpec::default() };
    let models = |names: &[&str]| PolicySpec { models: list(names), ..PolicySpec::default() };
    let regions = |names: &[&str], region_policy| PolicySpec {
        regions: list(names),
        region_policy,
        ..PolicySpec::default()
    };
    let retained = |retention| PolicySpec { retention: Some(retention), ..PolicySpec::default() };
    let profiles = |profiles: &[Profile]| PolicySpec { profiles: profiles.to_vec(), ..PolicySpec::default() };
    let (any, us, eu) = (RegionPolicy::Any, RegionPolicy::UsOnly, RegionPolicy::EuOnly);
    for (own, wider, expected) in [
        (providers(&[]), providers(&["openai"]), None),
        (providers(&["openai"]), providers(&[]), None),
        (providers(&["openai"]), providers(&["openai", "mistral"]), None),
        (providers(&["openai", "fal"]), providers(&["openai"]), Some(PolicyRule::Providers)),
        (models(&["a/b*"]), models(&["a/"]), None),
        (models(&["a/"]), models(&["a/b*"]), Some(PolicyRule::Models)),
        (models(&["a/b*"]), models(&["a/b"]), Some(PolicyRule::Models)),
        (regions(&["eu-west-1"], any), regions(&[], eu), None),
        (regions(&["us-east-1"], any), regions(&[], eu), Some(PolicyRule::Regions)),
        (regions(&[], us), regions(&[], eu), Some(PolicyRule::RegionPolicy)),
        (regions(&[], any), regions(&[], eu), None),
        (regions(&[], eu), regions(&[], eu), None),
        (profiles(&[Profile::Byok]), profiles(&[Profile::Byok, Profile::Byoc]), None),
        (profiles(&[Profile::Byoc]), profiles(&[Profile::Byok]), Some(PolicyRule::Profiles)),
        (retained(Retention::Days(7)), retained(Retention::Days(30)), None),
        (retained(Retention::Days(7)), retained(Retention::Zero), Some(PolicyRule::Retention)),
    ] {
        check(&own, &wider, expected);
    }
}

#[test]
fn an_amount_or_a_list_that_is_larger_is_found() {
    let rules = |request| PolicySpec { request, ..PolicySpec::default() };
    let none = RequestRules::default;
    let range = |least, most, default| {
        let [least, most, default] = [least, most, default].map(Thousandths::of);
        let rule = ParameterRule { name: "temperature".into(), default, least, most, clamps: true };
        RequestRules { parameters: vec![rule], ..RequestRules::default() }
    };
    let output = |most| RequestRules { output_tokens_max: Some(most), ..none() };
    let tools = |names: &[&str]| RequestRules { tools: Some(list(names)), ..none() };
    let files = |kinds: &[FileKind]| RequestRules { file_kinds: Some(kinds.to_vec()), ..none() };
    for (own, wider, expected) in [
        (output(10), none(), None),
        (none(), output(10), None),
        (output(10), output(10), None),
        (output(11), output(10), Some(PolicyRule::OutputTokens)),
        (tools(&["a"]), tools(&["a*"]), None),
        (tools(&["a"]), tools(&[]), Some(PolicyRule::Tools)),
        (tools(&[]), tools(&[]), None),
        (files(&[FileKind::Pdf]), files(&[FileKind::Image]), Some(PolicyRule::FileKinds)),
        (range(0.2, 0.8, 0.5), range(0.0, 1.0, 0.5), None),
        (range(0.2, 1.1, 0.5), range(0.0, 1.0, 0.5), Some(PolicyRule::Parameters)),
        (range(0.0, 1.0, 0.5), range(0.1, 1.0, 0.5), Some(PolicyRule::Parameters)),
    ] {
        check(&rules(own), &rules(wider), expected);
    }
}

#[test]
fn what_both_allow_is_told() {
    assert_eq!(narrowed_names(&[], &[]), None);
    assert_eq!(narrowed_names(&list(&["a"]), &[]), Some(list(&["a"])));
    assert_eq!(narrowed_names(&list(&["a", "b"]), &list(&["B", "c"])), Some(list(&["b"])));
    assert_eq!(narrowed_names(&list(&["a"]), &list(&["b"])), Some(Vec::new()));
    let (own, wider) = (list(&["a/", "b/c"]), list(&["a/x*", "b/", "d/"]));
    assert_eq!(narrowed_models(&own, &wider), Some(list(&["a/x*", "b/c"])));
}
