//! Checks that the fields of vendors' wire formats stand in their vendors' places, by `xtask/formats.toml`.

use serde::Deserialize;

use crate::finding::Finding;
use crate::source::{self, SourceFile};

pub const PATH: &str = "xtask/formats.toml";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    format: Vec<Format>,
    #[serde(default)]
    excused: Vec<Excused>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Format {
    /// Whose it is, in the possessive.
    name: String,
    places: Vec<String>,
    fields: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Excused {
    places: Vec<String>,
    fields: Vec<String>,
    #[expect(dead_code, reason = "the reason is for the reader of the table")]
    reason: String,
}

/// A field in a file of product code.
struct Occurrence<'a> {
    path: &'a str,
    line: usize,
    field: &'a str,
}

impl Occurrence<'_> {
    fn is_in(&self, places: &[String]) -> bool {
        places.iter().any(|place| self.path.starts_with(place.as_str()))
    }
}

pub fn check(sources: &[SourceFile], table: &Table) -> Vec<Finding> {
    let found = occurrences(sources, table);
    let mut findings = Vec::new();
    for format in &table.format {
        let stands = |found: &Occurrence<'_>| found.is_in(&format.places) || table.excuses(found);
        let of_format = |found: &&Occurrence<'_>| format.fields.iter().any(|field| field == found.field);
        for found in found.iter().filter(of_format).filter(|found| !stands(found)) {
            let what = format!("`{}` is a field of {} wire format", found.field, format.name);
            let fix = format!("read and write it in {}", format.places.join(" or "));
            findings.push(Finding::new(found.path, found.line, what, &fix));
        }
        for field in &format.fields {
            if !found.iter().any(|found| found.field == field && stands(found)) {
                let what = format!("`{field}` is in none of the places of {} wire format", format.name);
                findings.push(Finding::new(PATH, 1, what, "remove it from the list, or name its place"));
            }
        }
    }
    findings.extend(table.needless_excuses(&found));
    findings
}

fn occurrences<'a>(sources: &'a [SourceFile], table: &'a Table) -> Vec<Occurrence<'a>> {
    let is_product = |source: &&SourceFile| {
        source.path.starts_with("crates/") && !source.path.starts_with("crates/harness/")
    };
    let mut found = Vec::new();
    for source in sources.iter().filter(is_product) {
        for field in table.format.iter().flat_map(|format| &format.fields) {
            let lines = spellings(field).into_iter().flat_map(|word| lines_with(source, &word));
            found.extend(lines.map(|line| Occurrence { path: &source.path, line, field }));
        }
    }
    found
}

/// A field as it is on the wire, and as Rust's structures have it.
fn spellings(field: &str) -> Vec<String> {
    let mut snake = String::new();
    for letter in field.chars() {
        if letter.is_uppercase() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    if snake == field { vec![snake] } else { vec![field.to_owned(), snake] }
}

fn lines_with(source: &SourceFile, word: &str) -> Vec<usize> {
    let places = source::words(&source.text, word);
    let lines = places.map(|at| source::line_of(&source.text, at));
    lines.filter(|line| !source.is_test_line(*line)).collect()
}

impl Table {
    fn excuses(&self, found: &Occurrence<'_>) -> bool {
        self.excused.iter().any(|excused| excused.fields.iter().any(|field| excused.covers(field, found)))
    }

    /// The excused fields that stand in no excused place any more.
    fn needless_excuses(&self, found: &[Occurrence<'_>]) -> Vec<Finding> {
        let fields = self.excused.iter().flat_map(|row| row.fields.iter().map(move |field| (row, field)));
        fields
            .filter(|(row, field)| !found.iter().any(|found| row.covers(field, found)))
            .map(|(row, field)| {
                let what = format!("`{field}` is excused, and is not in {}", row.places.join(" or "));
                Finding::new(PATH, 1, what, "remove it from the row")
            })
            .collect()
    }
}

impl Excused {
    fn covers(&self, field: &str, found: &Occurrence<'_>) -> bool {
        field == found.field && found.is_in(&self.places)
    }
}

#[cfg(test)]
mod tests {
    use super::{Table, check};
    use crate::source::SourceFile;

    fn findings_of(files: &[(&str, &str)]) -> Vec<String> {
        let table: Table = toml::from_str(
            "[[format]]\nname = \"fal's\"\nplaces = ['crates/providers/src/fal/']\nfields = ['num_images']\n\
             [[format]]\nname = \"Veo's\"\nplaces = ['crates/providers/src/veo/']\nfields = ['sampleCount']\n\
             [[excused]]\nplaces = ['crates/line/src/lists']\nfields = ['sampleCount']\nreason = 'for now'\n",
        )
        .unwrap();
        let own = [
            ("crates/providers/src/fal/images.rs", "\"num_images\""),
            ("crates/providers/src/veo/mod.rs", "sample_count"),
            ("crates/line/src/lists.rs", "\"sampleCount\""),
        ];
        let kept = own.iter().filter(|(path, _)| files.iter().all(|(other, _)| path != other));
        let sources: Vec<SourceFile> =
            kept.chain(files).map(|(path, raw)| SourceFile::new(path, raw)).collect();
        let findings = check(&sources, &table).into_iter();
        findings.map(|finding| format!("{}:{}: {}", finding.path, finding.line, finding.what)).collect()
    }

    #[test]
    fn a_field_outside_its_place_is_found() {
        for raw in ["fn a() {}\nlet x = \"num_images\";", "\nnum_images: u64"] {
            assert_eq!(
                findings_of(&[("crates/dialects/src/a.rs", raw)]),
                ["crates/dialects/src/a.rs:2: `num_images` is a field of fal's wire format"],
                "{raw}"
            );
        }
        assert_eq!(findings_of(&[("crates/providers/src/fal2/a.rs", "sampleCount, sample_count")]).len(), 2);
    }

    #[test]
    fn other_words_comments_tests_and_emulators_pass() {
        for (path, raw) in [
            ("crates/dialects/src/a.rs", "max_num_images // num_images"),
            ("crates/dialects/src/a.rs", "#[cfg(test)]\nmod t { \"num_images\" }"),
            ("crates/harness/src/fal/a.rs", "\"num_images\""),
            ("tests/src/a.rs", "\"num_images\""),
        ] {
            assert!(findings_of(&[(path, raw)]).is_empty(), "{path} {raw}");
        }
    }

    #[test]
    fn a_row_that_says_nothing_is_found() {
        assert_eq!(
            findings_of(&[("crates/providers/src/fal/images.rs", "")]),
            ["xtask/formats.toml:1: `num_images` is in none of the places of fal's wire format"]
        );
        assert_eq!(
            findings_of(&[("crates/line/src/lists.rs", "")]),
            ["xtask/formats.toml:1: `sampleCount` is excused, and is not in crates/line/src/lists"]
        );
    }
}
