//! The rows of the capability manifest: which is the stronger, and what is wrong with one.

use catalogue::{Catalogue, CatalogueError, Fact, Facts, Manifest};

use crate::ONE_PROVIDER;

/// Every fact of a provider, all unverified but its dialects.
fn complete() -> String {
    let unsaid = Facts::default().missing();
    let fact = |name| match name {
        "grammars" => "grammars = { value = [\"chat\"], source = \"page\" }".to_owned(),
        _ => format!("{name} = {{ source = \"unverified\" }}"),
    };
    let facts: Vec<String> = unsaid.into_iter().map(fact).collect();
    let head = "date = \"2026-11-20\"\n[sources]\n\
                page = { at = \"https://alpha.example/api\", checked = \"2026-11-20\" }\n";
    format!("{head}[[provider]]\nslug = \"alpha\"\n[provider.facts]\n{}\n", facts.join("\n"))
}

fn catalogue_of(text: &str) -> Result<Catalogue, CatalogueError> {
    Catalogue::of_texts(ONE_PROVIDER, "revision = \"r1\"").unwrap().with_capabilities(text)
}

fn manifest_of(text: &str) -> Result<Manifest, CatalogueError> {
    catalogue_of(text).map(|catalogue| catalogue.capabilities().clone())
}

fn row(names: &str, facts: &str) -> String {
    format!("[[provider.model]]\nnames = {names}\n[provider.model.facts]\n{facts}\n")
}

fn marks(value: bool) -> String {
    format!("cache_marks = {{ value = {value}, source = \"page\" }}")
}

#[test]
fn the_more_exact_row_is_the_stronger() {
    let text = [
        complete(),
        row("[\"one*\"]", &marks(true)),
        row("[\"one-two\"]", "cache_marks = { source = \"unverified\" }"),
        row("[\"one-three*\"]", &marks(false)),
        row("[\"one-three-x*\"]", "vision = { value = true, source = \"page\" }"),
    ]
    .concat();
    let catalogue = catalogue_of(&text).unwrap();
    for (has_marks, models) in [
        (true, ["one", "accounts/alpha/models/one", "one-2026", "one-two-b"]),
        (false, ["one-two", "one-three", "one-three-x", "other"]),
    ] {
        for model in models {
            assert_eq!(catalogue.abilities("alpha", model).cache_marks, has_marks, "{model}");
        }
    }
    let facts = catalogue.capabilities().provider("alpha").unwrap().facts_of("one-three-x9");
    assert_eq!(facts.vision.as_ref().and_then(Fact::value), Some(&true));
    assert_eq!(facts.cache_marks.as_ref().and_then(Fact::value), Some(&false));
    assert_eq!(facts.cache_marks.as_ref().map(Fact::source), Some("https://alpha.example/api"));
    assert!(facts.documents.as_ref().is_some_and(|fact| fact.value().is_none()));
    assert!(facts.missing().is_empty());
    assert_eq!(catalogue.abilities("nobody", "one"), domain::Abilities::default());
}

#[test]
fn another_content_has_another_revision() {
    let one = manifest_of(&complete()).unwrap();
    let again = manifest_of(&complete()).unwrap();
    let other = manifest_of(&(complete() + &row("[\"x\"]", &marks(true)))).unwrap();
    assert_eq!(one.revision(), again.revision());
    assert_ne!(one.revision(), other.revision());
    let digest = one.revision().strip_prefix("cap_2026_11_20_").unwrap();
    assert!(digest.len() == 16 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{digest}");
}

#[test]
fn a_wrong_fact_is_refused_with_its_field() {
    let with = |names: &str, facts: &str| complete() + &row(names, facts);
    let without =
        |name: &str| complete().lines().filter(|line| !line.starts_with(name)).collect::<Vec<_>>().join("\n");
    let unread = "leaf = { at = \"x\", checked = \"2026-11-20\" }\n";
    for (text, message) in [
        (without("date"), "missing field `date`"),
        (complete().replace("date = \"2026-11-20\"", "date = \"today\""), "is a day"),
        (complete().replace("checked = \"2026-11-20\"", "checked = \"\""), "on which day"),
        (complete().replace("at = \"https://alpha.example/api\"", "at = \"\""), "a source says where"),
        (complete().replace("\"alpha\"\n[", "\"beta\"\n["), "no such provider"),
        (without("purge"), "purge is missing"),
        (complete().replace("[\"chat\"]", "[]"), "speaks no grammar"),
        (complete().replace("[\"chat\"]", "[\"telex\"]"), "no such grammar: \"telex\""),
        (complete().replace("page = {", "leaf = {"), "no such source: \"page\""),
        (complete().replace("page = {", &format!("{unread}page = {{")), "no fact was read there"),
        (with("[\"x\"]", "cache_marks = { value = true, source = \"unverified\" }"), "unverified\" alone"),
        (with("[\"x\"]", "cache_marks = { source = \"page\" }"), "the source it was read at"),
        (with("[\"x\"]", "cache_marks = { value = 1, source = \"page\" }"), "expected a boolean"),
        (with("[\"x\"]", "cash_marks = { value = true, source = \"page\" }"), "unknown field"),
        (with("[\"x\"]", "prompt_cache_discount_pct = { value = 101, source = \"page\" }"), "more than 100"),
        (with("[\"*\"]", &marks(true)), "without a path"),
        (with("[\"a*b\"]", &marks(true)), "without a path"),
        (with("[\"a/b\"]", &marks(true)), "without a path"),
        (with("[\"x\", \"x\"]", &marks(true)), "\"x\" stands twice"),
        (complete() + "[[provider]]" + complete().split_once("[[provider]]").unwrap().1, "stands twice"),
    ] {
        let error = manifest_of(&text).unwrap_err();
        assert!(error.to_string().contains(message), "wanted {message:?}, got: {error}");
        assert_eq!(error.file, "catalogue/capabilities.toml");
    }
}
