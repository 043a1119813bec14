//! The tests of `domain::server`.

use domain::{Evidence, MissingFeatures, ProbeResult, ServerFacts, ServerFeature};

#[test]
fn every_trait_is_in_the_table_once() {
    for of in ServerFeature::all() {
        assert_eq!(ServerFeature::all().filter(|other| *other == of).count(), 1, "{of:?}");
        assert_eq!(ServerFeature::named(of.name()), Some(of));
        assert!(of.values().len() > 1);
    }
    assert_eq!(ServerFeature::named("nonsense"), None);
    assert_eq!(ServerFeature::Errors.found("yes", 1), None);
}

#[test]
fn a_person_is_believed_above_a_probe_and_a_newer_probe_above_an_older_one() {
    let mut facts = ServerFacts::default();
    assert_eq!(facts.of(ServerFeature::StreamOptions), (None, Evidence::Unverified));
    assert!(facts.missing_features().is_none());
    let probe = |unix_ms, found| ProbeResult { unix_ms, model: None, error: None, findings: found };
    facts.learn(probe(1, vec![ServerFeature::StreamOptions.is(false, 1), ServerFeature::Done.is(true, 1)]));
    facts.learn(probe(2, vec![ServerFeature::DeveloperRole.is(false, 2)]));
    let found = ServerFeature::StreamOptions.is(false, 1);
    assert_eq!(facts.of(ServerFeature::StreamOptions), (Some(found), Evidence::Probed));
    let of = [ServerFeature::StreamOptions, ServerFeature::DeveloperRole, ServerFeature::Done];
    assert_eq!(of.map(|feature| facts.missing_features().lacks(feature)), [true, true, false]);
    facts.stated.push(ServerFeature::StreamOptions.is(true, 3));
    assert_eq!(facts.of(ServerFeature::StreamOptions).1, Evidence::Stated);
    assert_eq!(facts.missing_features(), MissingFeatures::default().lacking(ServerFeature::DeveloperRole));
    facts.learn(probe(4, vec![ServerFeature::DeveloperRole.is(true, 4)]));
    assert!(facts.missing_features().is_none());
}
