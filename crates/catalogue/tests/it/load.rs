//! Catalogue files: what an overlay changes, and what is wrong with a row.

use catalogue::Catalogue;
use domain::Price;

const TWO: &str = r#"
[[provider]]
slug = "alpha"
display_name = "Alpha"
synonyms = ["al"]
publishers = ["alpha"]
base_url = "https://alpha.example/v1"
byok = true
available = true

[[provider]]
slug = "own"
display_name = "Own server"
byok = true
available = true
custom = true
"#;

const ONE: &str = r#"
revision = "r1"
[[model]]
name = "alpha/one"
[[model.offer]]
provider = "al"
upstream_model = "one-1"
rates = { input = 5, output = 7 }
source = "https://alpha.example/prices"
checked = "2026-11-20"
"#;

fn base() -> Catalogue {
    Catalogue::of_texts(TWO, ONE).unwrap()
}

#[test]
fn an_overlay_adds_models_and_replaces_offers() {
    let overlay = r#"
[[model]]
name = "alpha/one"
context_tokens = 10
[[model.offer]]
provider = "alpha"
upstream_model = "one-2"
rates = { input = 1, output = 2 }
[[model]]
name = "acme/two"
[[model.offer]]
provider = "own"
upstream_model = "two"
"#;
    let catalogue = base().with_overlay(overlay).unwrap();
    let one = catalogue.model("alpha/one").unwrap();
    assert_eq!((one.offers.len(), one.context_tokens), (1, Some(10)));
    let offer = one.offer("alpha").unwrap();
    assert_eq!((&*offer.upstream_model, offer.origin.source.as_str()), ("one-2", "operator"));
    assert_eq!(offer.rates.unwrap().output, Price(2));
    assert!(catalogue.model("acme/two").unwrap().offer("own").unwrap().rates.is_none());
    assert_eq!(catalogue.by_bare_name("two").len(), 1);
    assert!(catalogue.revision().starts_with("r1+"));
    assert_ne!(catalogue.revision(), base().with_overlay("").unwrap().revision());
}

#[test]
fn a_wrong_row_is_refused_with_its_line_and_field() {
    let model = |body: &str| format!("[[model]]\n{body}");
    let offer =
        |body: &str| model(&format!("name = \"alpha/x\"\n[[model.offer]]\nprovider = \"alpha\"\n{body}"));
    let priced = |rates: &str| offer(&format!("upstream_model = \"x\"\nrates = {rates}"));
    let long = |rates: &str| format!("long_prompt = {{ above_tokens = 9, rates = {{ {rates} }} }}");
    let second = "[[model.offer]]\nprovider = \"al\"\nupstream_model = \"y\"";
    for (overlay, line, message) in [
        ("modle = 1".to_owned(), 1, "unknown field"),
        (model("name = 3"), 2, "expected a string"),
        (model("name = \"nobody\"\n"), 2, "publisher/model"),
        (model("name = \"a/b:c\"\n"), 2, "publisher/model"),
        (model("name = \"acme/x\"\n"), 2, "[[model.offer]]"),
        (model("name = \"acme/x\"\nmodality = \"smell\"\n"), 3, "modality is one of"),
        (model("name = \"acme/x\"\noperation = \"speech\"\n"), 3, "operation is speech or transcribe"),
        (model("name = \"alpha/one\"\n[[model]]\nname = \"alpha/one\""), 4, "stands twice"),
        (offer("upstream_model = \"x\"\nsauce = \"y\""), 6, "unknown field"),
        (offer("upstream_model = \"\""), 4, "upstream_model is empty"),
        (offer("upstream_model = \"x\"").replace("\"alpha\"\n", "\"beta\"\n"), 4, "no such provider"),
        (offer("upstream_model = \"x\"\n") + second, 7, "two offers of \"alpha\""),
        (priced("{ input = -1, output = 1 }"), 6, "-1"),
        (priced("{ input = 2.5, output = 1 }"), 6, "floating point"),
        (priced("{ input = 1 }"), 6, "rates.output is missing"),
        (priced("{ input = 1, output = 10_000_000_001 }"), 6, "10,000 USD"),
        (priced("{ input = 1, output = 1, cache = 2 }"), 6, "unknown field"),
        (priced("{ input = 1, output = 1 }\n") + &long("input = 2"), 7, "rates.output is missing"),
        (
            offer("upstream_model = \"x\"\n") + &long("input = 2, output = 2"),
            4,
            "needs the rates of a shorter one",
        ),
        (priced("{ input = 1, output = 1 }\nuntil = \"soon\""), 4, "until is a day"),
        ("[[model".to_owned(), 1, ""),
    ] {
        let error = base().with_overlay(&overlay).unwrap_err();
        assert_eq!((error.file.as_str(), error.line), ("overlay", line), "{overlay}\n{error}");
        assert!(error.message.contains(message), "{overlay}\n{error}");
    }
}

#[test]
fn our_own_files_must_name_source_and_day() {
    let without =
        |line: &str| ONE.lines().filter(|text| !text.starts_with(line)).collect::<Vec<_>>().join("\n");
    let tier = |name, facts| format!("{ONE}[[model.offer.tier]]\nname = \"{name}\"\n{facts}\n");
    for (models, message) in [
        (without("source"), "needs the source"),
        (without("checked"), "needs the day"),
        (ONE.replace("2026-11-20", "20.11.2026"), "needs the day"),
        (without("revision"), "is missing"),
        (
            without("rates").replace("source", "regions = []\n#").replace("checked", "#"),
            "neither a price nor",
        ),
        (format!("{ONE}as_of = \"2026-11-21\"\n"), "is of a later day"),
        (format!("{ONE}as_of = \"soon\"\n"), "as_of, which is a day"),
        (tier("gold", "percent = 50"), "isn't a tier"),
        (tier("flex", "percent = 50"), "needs the source"),
        (tier("flex", "source = \"a\"\nchecked = \"2026-11-20\""), "either a percent"),
    ] {
        let error = Catalogue::of_texts(TWO, &models).unwrap_err();
        assert!(error.message.contains(message), "{error}");
        assert_eq!(error.file, "catalogue/models.toml");
    }
}

#[test]
fn providers_are_checked_too() {
    for (providers, message) in [
        (TWO.replace("\"own\"", "\"al\""), "stands for two providers"),
        (TWO.replace("\"alpha\"\nd", "\"Alpha\"\nd"), "lower-case"),
        (TWO.replace("https://alpha.example/v1", "http://alpha.example/v1"), "https://"),
        (TWO.replace("base_url = \"https://alpha.example/v1\"\n", ""), "needs a base_url"),
        (TWO.replace("custom = true", "custom = true\npublishers = [\"alpha\"]"), "two providers of its own"),
        (TWO.replace("byok = true", "byok = true\nfamilies = [\"al-\"]"), "are those of \"alpha\", too"),
        (TWO.replace("byok = true", "byok = true\ndialects = [\"chat\"]"), "is that of \"alpha\""),
        (TWO.replace("custom = true", "custom = true\ndialects = [\"smoke\"]"), "no dialect"),
    ] {
        let error = Catalogue::of_texts(&providers, ONE).unwrap_err();
        assert!(error.message.contains(message), "{error}");
        assert!(error.line > 0, "{error}");
    }
}
