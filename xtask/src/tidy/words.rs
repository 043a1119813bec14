//! Checks the words of identifiers against `xtask/words.toml`.

use serde::Deserialize;

use super::names::{has, letters};
use crate::finding::Finding;
use crate::source::SourceFile;

pub const PATH: &str = "xtask/words.toml";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    word: Vec<Word>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Word {
    not: Vec<String>,
    say: String,
    /// How many lines still have one: in names that others know, or not renamed yet.
    left: usize,
}

/// More lines than are left with a word that the field doesn't use, or fewer, so that the table goes down with the code.
pub fn check(sources: &[SourceFile], table: &Table) -> Vec<Finding> {
    let mut lines: Vec<Vec<Finding>> = table.word.iter().map(|_| Vec::new()).collect();
    let is_product = |path: &str| path.starts_with("crates/") && !path.starts_with("crates/harness/");
    for source in sources.iter().filter(|source| is_product(&source.path)) {
        for (code, line) in source.code.lines().zip(1..).filter(|(_, line)| !source.is_test_line(*line)) {
            let letters = letters(code);
            for (word, lines) in table.word.iter().zip(&mut lines) {
                if let Some(found) = word.not.iter().find(|not| has(code, &letters, not)) {
                    let what = format!("an identifier says `{found}`; {} lines may still", word.left);
                    lines.push(Finding::new(
                        &source.path,
                        line,
                        what,
                        format!("say what it is: {}", word.say),
                    ));
                }
            }
        }
    }
    table.word.iter().zip(lines).flat_map(|(word, lines)| word.compare(lines)).collect()
}

impl Word {
    fn compare(&self, lines: Vec<Finding>) -> Vec<Finding> {
        if lines.len() >= self.left {
            return if lines.len() > self.left { lines } else { Vec::new() };
        }
        let what = format!("only {} lines are left with one of {:?}", lines.len(), self.not);
        vec![Finding::new(PATH, 1, what, format!("write `left = {}` there", lines.len()))]
    }
}

#[cfg(test)]
mod tests {
    use super::{Table, check};
    use crate::source::SourceFile;

    fn found(left: usize, path: &str, raw: &str) -> Vec<usize> {
        let table = format!("[[word]]\nnot = ['told', 'teller']\nsay = 'reported'\nleft = {left}\n");
        let findings = check(&[SourceFile::new(path, raw)], &toml::from_str::<Table>(&table).unwrap());
        findings.iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_word_is_found_in_the_products_identifiers_alone() {
        let words = [
            "let told = 1;",
            "fn is_told()",
            "struct TokenTold;",
            "const TOLD_MAX: u8 = 1;",
            "teller.send()",
        ];
        for raw in words {
            assert_eq!(found(0, "crates/plan/src/a.rs", raw), [1], "{raw}");
            assert!(found(0, "crates/harness/src/a.rs", raw).is_empty(), "{raw}");
            assert!(found(0, "crates/plan/tests/a.rs", raw).is_empty(), "{raw}");
        }
        for raw in ["// it is told", "let a = \"told\";", "let untold = storyteller;"] {
            assert!(found(0, "crates/plan/src/a.rs", raw).is_empty(), "{raw}");
        }
    }

    #[test]
    fn what_is_left_goes_down_with_the_code() {
        let raw = "let told = 1;\nlet teller = 2;";
        assert_eq!(found(1, "crates/plan/src/a.rs", raw), [1, 2]);
        assert!(found(2, "crates/plan/src/a.rs", raw).is_empty());
        assert_eq!(found(3, "crates/plan/src/a.rs", raw), [1]);
    }
}
