//! Which models use a public tokenizer.

use domain::Vocabulary;
use serde::Deserialize;
use toml::Spanned;

use crate::error::CatalogueError;
use crate::source::{Source, UNVERIFIED, is_day};

/// `tokenizers.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenizersFile {
    #[serde(default)]
    tokenizer: Vec<TokenizerRow>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenizerRow {
    vocabulary: Spanned<String>,
    models: Spanned<Vec<String>>,
    source: Spanned<String>,
    checked: Spanned<String>,
}

/// The models of each vocabulary, whichever provider serves them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tokenizers {
    /// Whole names, sorted.
    exact: Vec<(String, Vocabulary)>,
    prefixes: Vec<(String, Vocabulary)>,
}

impl Tokenizers {
    /// By the model's name at its provider; a path before it is ignored.
    pub fn of(&self, model: &str) -> Option<Vocabulary> {
        let name = model.rsplit('/').next().unwrap_or(model);
        let exact = self.exact.binary_search_by(|(exact, _)| exact.as_str().cmp(name)).ok();
        let exact = exact.and_then(|index| self.exact.get(index));
        let known = exact.or_else(|| self.prefixes.iter().find(|(prefix, _)| name.starts_with(prefix)));
        known.map(|(_, vocabulary)| *vocabulary)
    }
}

/// # Errors
/// The file is wrong; the error names its line and field.
pub fn load(source: Source<'_>) -> Result<Tokenizers, CatalogueError> {
    let mut found = Tokenizers::default();
    for row in source.parse::<TokenizersFile>()?.tokenizer {
        let word = row.vocabulary.get_ref();
        let Some(vocabulary) = Vocabulary::from_word(word) else {
            let known = Vocabulary::ALL.map(Vocabulary::as_str).join(", ");
            let message = format!("no such vocabulary: \"{word}\"; it is one of {known}");
            return Err(source.wrong(row.vocabulary.span(), "vocabulary", &message));
        };
        if row.source.get_ref().is_empty() || row.source.get_ref() == UNVERIFIED {
            return Err(source.wrong(row.source.span(), "source", "says where this was read"));
        }
        if !is_day(row.checked.get_ref()) {
            return Err(source.wrong(row.checked.span(), "checked", "is a day, as \"2026-11-20\""));
        }
        let span = row.models.span();
        for name in row.models.into_inner() {
            add(&mut found, source, span.clone(), &name, vocabulary)?;
        }
    }
    found.exact.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    // The longer prefix is the more exact one.
    found.prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
    Ok(found)
}

fn add(
    found: &mut Tokenizers,
    source: Source<'_>,
    span: std::ops::Range<usize>,
    name: &str,
    vocabulary: Vocabulary,
) -> Result<(), CatalogueError> {
    let (list, name) = match name.strip_suffix('*') {
        Some(prefix) => (&mut found.prefixes, prefix),
        None => (&mut found.exact, name),
    };
    if name.is_empty() || name.contains(['*', '/']) {
        let message = "a name is as its seller writes it, without a path; `*` may end it";
        return Err(source.wrong(span, "models", message));
    }
    if list.iter().any(|(known, _)| known == name) {
        return Err(source.wrong(span, "models", &format!("\"{name}\" stands twice")));
    }
    list.push((name.to_owned(), vocabulary));
    Ok(())
}
