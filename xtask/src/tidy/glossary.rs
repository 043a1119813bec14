//! Compares GLOSSARY.md with the code: each term has a name in the code, and each public type of the pipeline's crates bears
//! a term or is on the list of plain names, `xtask/glossary.toml`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::names::{has, letters};
use crate::finding::Finding;
use crate::source::SourceFile;

pub const PATH: &str = "xtask/glossary.toml";
pub const GLOSSARY: &str = "GLOSSARY.md";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// The crates whose public types need a term.
    crates: Vec<String>,
    /// Types whose names say everything, with what they mean.
    plain: BTreeMap<String, String>,
}

/// A term in the glossary, as a part of an identifier (`lease_client`), with its line.
struct Term<'a> {
    text: &'a str,
    word: String,
    line: usize,
}

pub fn check(glossary: &str, table: &Table, sources: &[SourceFile]) -> Vec<Finding> {
    let terms: Vec<Term<'_>> = terms(glossary).collect();
    let mut findings = unused_terms(&terms, sources);
    let types = public_types(table, sources);
    for (name, path) in &types {
        let is_term = bears_term(name, &terms);
        if !is_term && !table.plain.contains_key(name) {
            let what = format!("the public type `{name}` bears no term of {GLOSSARY}");
            let fix =
                format!("use a term in its name, define it there, or list it as a plain name in {PATH}");
            findings.push(Finding::new(path, 1, what, fix));
        }
        if is_term && table.plain.contains_key(name) {
            let what = format!("`{name}` bears a term of {GLOSSARY} and needs no row");
            findings.push(Finding::new(PATH, 1, what, "remove the row"));
        }
    }
    for name in table.plain.keys().filter(|name| !types.contains_key(*name)) {
        let what = format!("no crate of the list exports a type `{name}`");
        findings.push(Finding::new(PATH, 1, what, "remove the row"));
    }
    findings
}

/// The terms in the heads of the entries: `- **Stored response**, **stored object**: …` has two.
fn terms(glossary: &str) -> impl Iterator<Item = Term<'_>> {
    glossary.lines().enumerate().filter(|(_, line)| line.starts_with("- **")).flat_map(|(at, line)| {
        let head = line.split_once(':').map_or(line, |(head, _)| head);
        let texts = head.split("**").skip(1).step_by(2);
        texts.map(move |text| Term { text, word: text.to_lowercase().replace([' ', '-'], "_"), line: at + 1 })
    })
}

fn bears_term(name: &str, terms: &[Term<'_>]) -> bool {
    let letters = letters(name);
    terms.iter().any(|term| has(name, &letters, &term.word))
}

fn unused_terms(terms: &[Term<'_>], sources: &[SourceFile]) -> Vec<Finding> {
    let product = sources.iter().filter(|source| source.path.starts_with("crates/"));
    let identifiers: BTreeSet<&str> = product.flat_map(|source| identifiers(&source.code)).collect();
    let identifiers: Vec<(&str, String)> =
        identifiers.into_iter().map(|name| (name, letters(name))).collect();
    let is_used = |term: &&Term<'_>| identifiers.iter().any(|(name, letters)| has(name, letters, &term.word));
    terms
        .iter()
        .filter(|term| !is_used(term))
        .map(|term| {
            let what = format!("nothing in the code is called \"{}\"", term.text);
            let fix = "use the code's name for it here, or this name in the code; take out what is gone";
            Finding::new(GLOSSARY, term.line, what, fix)
        })
        .collect()
}

/// The types that the listed crates export at their root, each with its crate's `lib.rs`.
fn public_types<'a>(table: &Table, sources: &'a [SourceFile]) -> BTreeMap<String, &'a str> {
    let roots: Vec<String> = table.crates.iter().map(|name| format!("crates/{name}/src/lib.rs")).collect();
    let mut types = BTreeMap::new();
    for source in sources.iter().filter(|source| roots.contains(&source.path)) {
        let exports = source.code.split("pub use ").skip(1).filter_map(|rest| rest.split(';').next());
        let defined = ["pub struct ", "pub enum ", "pub trait ", "pub type "]
            .into_iter()
            .flat_map(|kind| source.code.split(kind).skip(1))
            .filter_map(|rest| identifiers(rest).next());
        for name in exports.flat_map(identifiers).chain(defined).filter(|name| is_type(name)) {
            types.insert(name.to_owned(), source.path.as_str());
        }
    }
    types
}

fn identifiers(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|name| !name.is_empty())
}

/// Types begin with a capital; constants have no small letter.
fn is_type(name: &str) -> bool {
    name.starts_with(char::is_uppercase) && name.contains(char::is_lowercase)
}

#[cfg(test)]
mod tests {
    use super::{Table, check};
    use crate::source::SourceFile;

    fn found(glossary: &str, plain: &str, raw: &str) -> Vec<String> {
        let table = format!("crates = ['a']\n[plain]\n{plain}");
        let sources = [SourceFile::new("crates/a/src/lib.rs", raw)];
        let findings = check(glossary, &toml::from_str::<Table>(&table).unwrap(), &sources);
        findings.into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn a_term_has_a_name_in_the_code() {
        let code = "struct MeterRecord { tab: Tab }\n// lease client";
        let glossary = "# Glossary\n\n- **Meter record**: a\n- **Tab**, **lease client**: b\n";
        assert_eq!(found(glossary, "", code), ["nothing in the code is called \"lease client\""]);
    }

    #[test]
    fn a_public_type_bears_a_term_or_is_on_the_list() {
        let code = "pub use tab::{OpenTab, TAB_MAX, close};\npub(crate) struct Inner;\npub struct Piece;";
        let missing = "the public type `Piece` bears no term of GLOSSARY.md";
        assert_eq!(found("- **Tab**: a", "", code), [missing]);
        assert!(found("- **Tab**: a", "Piece = 'a part of a body'", code).is_empty());
        assert!(found("- **Tab**: a\n- **Piece**: b", "", code).is_empty());
    }

    #[test]
    fn the_list_goes_down_with_the_code() {
        let listed = "Piece = 'a part of a body'";
        let gone = "no crate of the list exports a type `Piece`";
        assert_eq!(found("- **Tab**: a", listed, "pub struct Tab;"), [gone]);
        let defined = "`Piece` bears a term of GLOSSARY.md and needs no row";
        assert_eq!(found("- **Piece**: a", listed, "pub struct Piece;"), [defined]);
    }
}
