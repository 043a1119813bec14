//! What operators state of their providers.

use catalogue::{Capability, Catalogue, Fact, StatedCapabilities, StatedFacts};
use serde_json::{Value, json};

fn stated(provider: &str, statement: Value, day: &str) -> StatedCapabilities {
    let facts = StatedFacts::read(statement, day).unwrap();
    StatedCapabilities { provider: provider.to_owned(), facts, day: day.to_owned() }
}

#[test]
fn what_is_stated_holds_in_place_of_ours() {
    let base = Catalogue::embedded().unwrap();
    let statement = json!({
        "facts": {"batch_api_supported": {"value": false}},
        "models": {
            "gpt-4o*": {"batch_api_supported": {"value": true, "source": "a letter", "checked": "2026-11-01"}},
            "gpt-6*": {"prompt_cache_min_tokens": {"source": "unverified"}},
        },
    });
    let catalogue = base.with_stated(&[stated("openai", statement, "2026-12-01")]);
    let manifest = catalogue.capabilities();
    for (model, is_denied) in [("gpt-4.1", true), ("gpt-4o-mini", false), ("gpt-6-astra", true)] {
        assert_eq!(manifest.denies("openai", model, Capability::Batch), is_denied, "{model}");
    }
    assert!(!base.capabilities().denies("openai", "gpt-4.1", Capability::Batch));
    assert_eq!(manifest.cache_facts("openai", "gpt-6-astra").tokens_min, None, "nobody knows it any more");
    assert_eq!(manifest.cache_facts("openai", "gpt-4.1").tokens_min, Some(1_024), "ours");
    let facts = manifest.provider("openai").unwrap().facts_of("gpt-4.1");
    let fact = facts.batch_api_supported.unwrap();
    assert_eq!((fact.source(), fact.checked()), ("operator", "2026-12-01"));
    assert_eq!(catalogue.with_stated(&[]).capabilities(), base.capabilities(), "and the way back");
}

#[test]
fn a_revision_is_its_content_and_its_day() {
    let base = Catalogue::embedded().unwrap();
    let revisions = |value: u64, day: &str| {
        let statement =
            json!({"facts": {"prompt_cache_min_tokens": {"value": value, "checked": "2026-11-01"}}});
        let catalogue = base.with_stated(&[stated("openai", statement, day)]);
        let manifest = catalogue.capabilities();
        let of = |slug: &str| manifest.provider(slug).unwrap().revision().to_owned();
        (manifest.revision().to_owned(), of("openai"), of("anthropic"))
    };
    let one = revisions(512, "2026-12-01");
    assert_eq!(one, revisions(512, "2026-12-01"));
    assert!(one.0.starts_with("cap_2026_12_01_") && one.1.starts_with("cap_2026_12_01_"), "{one:?}");
    let other = revisions(256, "2026-12-01");
    assert_ne!((&one.0, &one.1), (&other.0, &other.1));
    assert_eq!(one.2, other.2, "nobody stated anything of another provider");
    let later = revisions(512, "2026-12-02");
    assert!(later.1.starts_with("cap_2026_12_02_"), "{later:?}");
}

#[test]
fn a_provider_that_nobody_read_of_can_be_stated() {
    let base = Catalogue::embedded().unwrap();
    let statement = json!({"facts": {"refuses_sampling": {"value": true}}});
    let catalogue = base.with_stated(&[stated("nebius", statement, "2026-12-01")]);
    assert!(catalogue.abilities("nebius", "any").refuses_sampling);
    assert_eq!(catalogue.grammars("nebius"), [domain::Grammar::Chat]);
}

#[test]
fn a_wrong_statement_names_its_field() {
    let fact = |name: &str, stated: Value| json!({"facts": {name: stated}});
    let (similar, discount) = ("did you mean batch_api_supported?", "prompt_cache_discount_pct");
    for (statement, field, message) in [
        (fact("batch_api_support", json!({"value": true})), "facts.batch_api_support", similar),
        (fact("vision", json!({"value": "yes"})), "facts.vision", "expected a boolean"),
        (fact("vision", json!(true)), "facts.vision", "invalid type"),
        (fact("vision", json!({"value": true, "sauce": "x"})), "facts.vision", "unknown field"),
        (fact("vision", json!({})), "facts.vision", "has a value"),
        (fact("vision", json!({"value": true, "source": "unverified"})), "facts.vision", "has a value"),
        (fact("vision", json!({"value": true, "checked": "soon"})), "facts.vision", "is a day"),
        (fact(discount, json!({"value": 101})), "facts.prompt_cache_discount_pct", "more than 100"),
        (fact("grammars", json!({"value": []})), "facts.grammars", "one at least"),
        (fact("purge", json!({"value": "magic"})), "facts.purge", "unknown variant"),
        (json!({"models": {"a/b": {"vision": {"value": true}}}}), "models.a/b", "without a path"),
        (json!({"models": {"*": {"vision": {"value": true}}}}), "models.*", "without a path"),
        (json!({"models": {"a": {"grammars": {"value": ["chat"]}}}}), "models.a", "are the provider's"),
        (json!({"models": {"a": {"vision": {"value": 1}}}}), "models.a.vision", "expected a boolean"),
        (json!({"facts": {}, "more": 1}), "body", "unknown field"),
    ] {
        let wrong = StatedFacts::read(statement, "2026-12-01").unwrap_err();
        assert_eq!(wrong.field, field, "{wrong}");
        assert!(wrong.message.contains(message), "{wrong}");
    }
}

#[test]
fn what_a_newer_version_stated_says_nothing_here() {
    let text = r#"{"facts": {"telepathy": {"value": true}, "vision": {"value": true, "source": "x", "checked": "2026-11-01"}}}"#;
    let read = StatedFacts::of_stored(text);
    assert_eq!(read.facts.vision.as_ref().and_then(Fact::value), Some(&true));
    assert_eq!(StatedFacts::of_stored(&serde_json::to_string(&read).unwrap()), read, "as it is written");
    assert!(StatedFacts::of_stored("[]").is_empty());
}
