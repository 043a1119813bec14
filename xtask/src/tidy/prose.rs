//! Checks texts that people read: phrases that a native writer wouldn't use are counted against `xtask/prose.toml`, and links of
//! the documentation lead to files that are there.

use std::path::Path;

use anyhow::Result;
use serde::Deserialize;

use crate::finding::Finding;
use crate::{site, tree};

pub const PATH: &str = "xtask/prose.toml";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Pages that are generated from texts elsewhere, or that record how things were.
    skip: Vec<String>,
    phrase: Vec<Phrase>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Phrase {
    not: Vec<String>,
    say: String,
    /// How many lines of each kind of text still have one; they only fall.
    docs: usize,
    help: usize,
    console: usize,
}

/// Where people read a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Docs,
    Help,
    Console,
}

/// A text by its path, with what is prose of it, line by line.
struct Text {
    place: Place,
    path: String,
    lines: Vec<String>,
}

pub fn check(root: &Path, table: &Table) -> Result<Vec<Finding>> {
    let mut texts = Vec::new();
    let mut findings = Vec::new();
    for path in
        tree::files(root, |name| [".md", ".rs", ".svelte", ".ts"].iter().any(|end| name.ends_with(end)))?
    {
        if table.skip.iter().any(|skip| path.starts_with(skip.as_str())) {
            continue;
        }
        let Some(place) = place(&path) else { continue };
        let raw = tree::read(root, &path)?;
        if place == Place::Docs {
            findings.extend(links(root, &path, &raw));
        }
        texts.push(Text { place, lines: prose(place, &raw), path });
    }
    for page in site::unlisted(root)? {
        findings.push(Finding::new(&page, 1, "docs/SUMMARY.md does not list the page", "add its line there"));
    }
    findings.extend(table.phrase.iter().flat_map(|phrase| phrase.compare(&texts)));
    Ok(findings)
}

fn place(path: &str) -> Option<Place> {
    let is_page = path == "README.md" || path.strip_prefix("docs/").is_some_and(|path| path.ends_with(".md"));
    let is_command = ["crates/cli/src/", "crates/tidegate/src/commands/", "crates/declared/src/"];
    if is_page {
        Some(Place::Docs)
    } else if is_command.iter().any(|folder| path.starts_with(folder)) && path.ends_with(".rs") {
        Some(Place::Help)
    } else if path.starts_with("console/src/") && !path.ends_with(".test.ts") {
        Some(Place::Console)
    } else {
        None
    }
}

/// The lines with what is no prose left empty: code of pages, all but the documentation comments of commands, from which help
/// texts are made, and comments and attributes of the console.
fn prose(place: Place, raw: &str) -> Vec<String> {
    let mut is_code = false;
    let mut line = |line: &str| {
        let text = line.trim_start();
        match place {
            Place::Docs => {
                let fence = text.starts_with("```");
                is_code ^= fence;
                if fence || is_code || line.starts_with("    ") { String::new() } else { line.to_lowercase() }
            }
            Place::Help => text.strip_prefix("/// ").map(str::to_lowercase).unwrap_or_default(),
            Place::Console => {
                let is_comment =
                    ["//", "*", "/*", "<!--", "import "].iter().any(|start| text.starts_with(start));
                if is_comment { String::new() } else { line.to_lowercase() }
            }
        }
    };
    raw.lines().map(&mut line).collect()
}

impl Phrase {
    fn compare(&self, texts: &[Text]) -> Vec<Finding> {
        let places = [(Place::Docs, self.docs), (Place::Help, self.help), (Place::Console, self.console)];
        places.into_iter().flat_map(|(place, left)| self.compare_place(texts, place, left)).collect()
    }

    fn compare_place(&self, texts: &[Text], place: Place, left: usize) -> Vec<Finding> {
        let mut found = Vec::new();
        for text in texts.iter().filter(|text| text.place == place) {
            for (line, number) in text.lines.iter().zip(1..) {
                if let Some(not) = self.not.iter().find(|not| has(line, not)) {
                    let what = format!("\"{not}\"; {left} lines of {place:?} may still say so");
                    found.push(Finding::new(&text.path, number, what, format!("write: {}", self.say)));
                }
            }
        }
        let count = found.len();
        if count < left {
            let what = format!("only {count} lines of {place:?} are left with one of {:?}", self.not);
            return vec![Finding::new(PATH, 1, what, format!("write {count} there"))];
        }
        if count > left { found } else { Vec::new() }
    }
}

/// Whether a phrase stands in a line as whole words.
fn has(line: &str, phrase: &str) -> bool {
    let is_word = |letter: Option<char>| letter.is_some_and(char::is_alphanumeric);
    line.match_indices(phrase).any(|(at, _)| {
        let (before, rest) = line.split_at(at);
        let after = rest.get(phrase.len()..).unwrap_or_default();
        !is_word(before.chars().next_back()) && !is_word(after.chars().next())
    })
}

/// Relative links that lead to nothing.
fn links(root: &Path, path: &str, raw: &str) -> Vec<Finding> {
    let folder = root.join(path).parent().map(Path::to_path_buf).unwrap_or_default();
    let mut findings = Vec::new();
    for (line, number) in raw.lines().zip(1..) {
        for link in line.split("](").skip(1).filter_map(|rest| rest.split([')', '#', ' ']).next()) {
            let is_here = link.is_empty() || link.contains("://") || folder.join(link).exists();
            if !is_here {
                findings.push(Finding::new(
                    path,
                    number,
                    format!("`{link}` is not there"),
                    "correct the link",
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::{Phrase, Place, Text, has, links, place, prose};
    use crate::tree::root;

    fn phrase(docs: usize) -> Phrase {
        Phrase { not: vec!["anew".to_owned()], say: "again".to_owned(), docs, help: 0, console: 0 }
    }

    fn found(docs: usize, raw: &str) -> Vec<usize> {
        let path = "docs/a.md".to_owned();
        let texts = [Text { place: Place::Docs, lines: prose(Place::Docs, raw), path }];
        phrase(docs).compare(&texts).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn phrases_are_whole_words_outside_code() {
        assert_eq!(found(0, "It begins Anew.\n```sh\nanew\n```\n    anew\nrenanewed"), [1]);
        assert!(has("is told, and", "is told") && !has("this told", "is told"));
    }

    #[test]
    fn counts_only_fall() {
        assert!(found(1, "anew").is_empty());
        assert_eq!(found(2, "anew\nx"), [1]);
        assert_eq!(found(0, "anew\nanew"), [1, 2]);
    }

    #[test]
    fn each_place_has_its_prose() {
        assert_eq!(place("docs/how-to/a.md"), Some(Place::Docs));
        assert_eq!(place("crates/cli/src/commands/key.rs"), Some(Place::Help));
        assert_eq!(place("crates/plan/src/lib.rs"), None);
        assert_eq!(prose(Place::Help, "    /// Shows Keys.\n    let anew = 1;"), ["shows keys.", ""]);
        assert_eq!(prose(Place::Console, "// anew\n<p>Keys</p>"), ["", "<p>keys</p>"]);
    }

    #[test]
    fn links_lead_somewhere() {
        let raw = "[a](cli.md#x) [b](https://a.b) [c](#d)\n[e](nowhere.md)";
        let found: Vec<usize> = links(&root(), "docs/x.md", raw).iter().map(|finding| finding.line).collect();
        assert_eq!(found, [2]);
    }
}
