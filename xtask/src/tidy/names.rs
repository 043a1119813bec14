//! Checks where the names of providers and dialects may appear, against `xtask/names.toml`.

use serde::Deserialize;

use crate::finding::Finding;
use crate::source::SourceFile;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    class: Vec<Class>,
    #[serde(default)]
    also: Vec<Also>,
    #[serde(default)]
    phrase: Vec<Phrase>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Class {
    name: String,
    words: Vec<String>,
    allowed: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Also {
    word: String,
    allowed: Vec<String>,
    #[expect(dead_code, reason = "the reason is for the reader of the table")]
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Phrase {
    text: String,
    #[expect(dead_code, reason = "the reason is for the reader of the table")]
    reason: String,
}

pub fn check(source: &SourceFile, table: &Table) -> Vec<Finding> {
    if !source.path.starts_with("crates/") {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (at, line) in source.text.lines().enumerate() {
        if source.is_test_line(at + 1) {
            continue;
        }
        let line = table.without_phrases(line);
        let letters = letters(&line);
        for (word, class) in table.words() {
            if has(&line, &letters, word) && !table.allows(word, &source.path) {
                let what = format!("the {class} name `{word}` is written here");
                let fix = "ask the capability manifest for what you need to know, or take the name from `catalogue/`; the places are in xtask/names.toml";
                findings.push(Finding::new(&source.path, at + 1, what, fix));
            }
        }
    }
    findings
}

impl Table {
    /// Each word once, with the first class that lists it.
    fn words(&self) -> impl Iterator<Item = (&str, &str)> {
        self.class.iter().enumerate().flat_map(move |(at, class)| {
            let earlier = self.class.iter().take(at);
            let seen = move |word: &String| earlier.clone().any(|other| other.words.contains(word));
            class
                .words
                .iter()
                .filter(move |word| !seen(word))
                .map(|word| (word.as_str(), class.name.as_str()))
        })
    }

    fn without_phrases(&self, line: &str) -> String {
        self.phrase.iter().fold(line.to_owned(), |line, phrase| line.replace(&phrase.text, " "))
    }

    /// A word in several classes may appear wherever one of them allows it.
    fn allows(&self, word: &str, path: &str) -> bool {
        let classes = self.class.iter().filter(|class| class.words.iter().any(|other| other == word));
        let also = self.also.iter().filter(|also| also.word == word);
        let prefixes = classes.map(|class| &class.allowed).chain(also.map(|also| &also.allowed));
        prefixes.flatten().any(|prefix| path.starts_with(prefix))
    }
}

/// A line in lower case and without `_`, for `has`.
pub(super) fn letters(line: &str) -> String {
    line.replace('_', "").to_lowercase()
}

/// Whether an identifier of the line has the word. The line's letters alone tell most lines that don't.
pub(super) fn has(line: &str, letters: &str, word: &str) -> bool {
    if word.contains('_') {
        return has(line, letters, &word.replace('_', ""));
    }
    letters.contains(word) && holds(&parts(line), word)
}

/// A line's identifiers, split at `_` and at camel-case humps, in lower case; an empty part stands for
/// anything in between.
fn parts(line: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut before = ' ';
    for c in line.chars() {
        let hump = c.is_uppercase() && before.is_lowercase();
        if !c.is_alphanumeric() || hump {
            parts.push(String::new());
        }
        if !c.is_alphanumeric() && c != '_' {
            parts.push(String::new());
        }
        if c.is_alphanumeric()
            && let Some(part) = parts.last_mut()
        {
            part.extend(c.to_lowercase());
        }
        before = c;
    }
    parts
}

/// Whether consecutive parts, joined, form the word.
fn holds(parts: &[String], wanted: &str) -> bool {
    (0..parts.len()).any(|start| {
        let mut rest = wanted;
        for part in parts.iter().skip(start).take_while(|part| !part.is_empty()) {
            match rest.strip_prefix(part.as_str()) {
                Some("") => return true,
                Some(left) => rest = left,
                None => return false,
            }
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::{Table, check};
    use crate::source::SourceFile;

    fn findings_of(path: &str, raw: &str) -> Vec<String> {
        let table: Table = toml::from_str(
            "[[class]]\nname = 'provider'\nwords = ['openai', 'together_ai', 'fal']\nallowed = ['crates/providers/']\n\
             [[class]]\nname = 'dialect'\nwords = ['openai', 'gemini']\nallowed = ['crates/dialects/']\n\
             [[also]]\nword = 'openai'\nallowed = ['crates/tidegate/src/cli']\nreason = 'help'\n\
             [[phrase]]\ntext = 'OpenAI-compatible'\nreason = 'a common word'\n",
        )
        .unwrap();
        let findings = check(&SourceFile::new(path, raw), &table);
        findings.into_iter().map(|finding| format!("{}: {}", finding.line, finding.what)).collect()
    }

    #[test]
    fn names_are_found_in_every_spelling() {
        for raw in
            ["let x = \"openai\";", "OPENAI_API_KEY", "struct OpenAiKey;", "fn open_ai()", "a(\"openai/x\")"]
        {
            assert_eq!(
                findings_of("crates/plan/src/a.rs", raw),
                ["1: the provider name `openai` is written here"],
                "{raw}"
            );
        }
        assert_eq!(findings_of("crates/plan/src/a.rs", "TogetherAi").len(), 1);
    }

    #[test]
    fn parts_of_other_words_comments_and_tests_pass() {
        for raw in
            ["let false_alarm = xopenaix;", "// openai", "open(ai)", "#[cfg(test)]\nmod t { \"openai\" }"]
        {
            assert!(findings_of("crates/plan/src/a.rs", raw).is_empty(), "{raw}");
        }
        assert!(findings_of("crates/plan/src/a.rs", "\"an OpenAI-compatible server\"").is_empty());
        assert_eq!(findings_of("crates/plan/src/a.rs", "\"OpenAI-compatible, as openai\"").len(), 1);
        assert!(findings_of("xtask/src/a.rs", "openai").is_empty());
    }

    #[test]
    fn a_word_of_two_classes_is_allowed_in_both_and_where_listed() {
        for path in ["crates/providers/src/a.rs", "crates/dialects/src/a.rs", "crates/tidegate/src/cli.rs"] {
            assert!(findings_of(path, "openai").is_empty(), "{path}");
        }
        assert_eq!(
            findings_of("crates/providers/src/a.rs", "gemini"),
            ["1: the dialect name `gemini` is written here"]
        );
    }
}
