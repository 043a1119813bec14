//! Which models have a public tokenizer.

use catalogue::{Catalogue, CatalogueError};
use domain::Vocabulary;

fn read(text: &str) -> Result<Catalogue, CatalogueError> {
    Catalogue::of_texts("", "revision = \"r1\"").unwrap().with_tokenizers(text)
}

fn row(vocabulary: &str, models: &str) -> String {
    format!(
        "[[tokenizer]]\nvocabulary = \"{vocabulary}\"\nmodels = {models}\nsource = \"page\"\nchecked = \"2026-11-21\"\n"
    )
}

#[test]
fn the_more_exact_name_is_the_stronger() {
    let text = row("cl100k", r#"["one*", "two"]"#) + &row("o200k", r#"["one-big*", "one-x", "two-*"]"#);
    let found = read(&text).unwrap();
    for (vocabulary, models) in [
        (Some(Vocabulary::Cl100k), &["one", "one-small", "one-x2", "two"][..]),
        (Some(Vocabulary::O200k), &["one-bigger", "accounts/alpha/models/one-x", "two-b"]),
        (None, &["twofold", ""]),
    ] {
        for model in models {
            assert_eq!(found.vocabulary(model), vocabulary, "{model}");
        }
    }
}

#[test]
fn a_wrong_row_is_refused_with_its_field() {
    let good = row("o200k", r#"["one"]"#);
    for (text, message) in [
        (row("p50k", r#"["one"]"#), "no such vocabulary: \"p50k\""),
        (good.replace("\"page\"", "\"\""), "says where"),
        (good.replace("\"page\"", "\"unverified\""), "says where"),
        (good.replace("2026-11-21", "today"), "is a day"),
        (row("o200k", r#"["*"]"#), "without a path"),
        (row("o200k", r#"["a/b"]"#), "without a path"),
        (good.clone() + &good, "stands twice"),
        (good.replace("models", "model"), "unknown field"),
    ] {
        let error = read(&text).unwrap_err();
        assert!(error.to_string().contains(message), "wanted {message:?}, got: {error}");
    }
}
