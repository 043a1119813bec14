//! Checks that whatever reads bytes of others has a fuzz target, by `xtask/parsers.toml`.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::finding::Finding;
use crate::source::{self, SourceFile};

pub const PATH: &str = "xtask/parsers.toml";
const TARGETS: &str = "fuzz/tests/";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Calls that read bytes.
    calls: Vec<String>,
    /// How the names of functions begin that read the bytes they are given.
    verbs: Vec<String>,
    parser: Vec<Parser>,
    excepted: Vec<Excepted>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parser {
    targets: Vec<String>,
    places: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Excepted {
    places: Vec<String>,
    #[expect(dead_code, reason = "the reason is for the reader of the table")]
    reason: String,
}

pub fn check(sources: &[SourceFile], table: &Table) -> Vec<Finding> {
    let readers: Vec<(&str, usize)> = sources.iter().filter_map(|source| reads(source, table)).collect();
    let of_parsers = table.parser.iter().flat_map(|row| &row.places);
    let places: Vec<&String> = of_parsers.chain(table.excepted.iter().flat_map(|row| &row.places)).collect();
    let is_in = |path: &str, place: &str| path == place || place.ends_with('/') && path.starts_with(place);
    let mut findings = targets(sources, table);
    for (path, line) in &readers {
        if !places.iter().any(|place| is_in(path, place)) {
            let fix = "name the fuzz target that reaches it in xtask/parsers.toml, or except it there with the reason";
            findings.push(Finding::new(path, *line, "reads bytes, and has no fuzz target".to_owned(), fix));
        }
    }
    for place in places.iter().filter(|place| !readers.iter().any(|(path, _)| is_in(path, place))) {
        let what = format!("nothing at {place} reads bytes");
        findings.push(Finding::new(PATH, 1, what, "remove it, or name where that is read now"));
    }
    findings
}

/// The targets that either the table or the package of fuzz targets lacks.
fn targets(sources: &[SourceFile], table: &Table) -> Vec<Finding> {
    let of_fuzz = sources.iter().filter(|source| source.path.starts_with(TARGETS));
    let functions = of_fuzz.flat_map(SourceFile::functions).map(|function| function.name);
    let there: BTreeSet<String> = functions.filter(|name| name.starts_with("fuzz_")).collect();
    let named: BTreeSet<String> = table.parser.iter().flat_map(|row| row.targets.clone()).collect();
    let finding = |name: &String| {
        let what = if named.contains(name) { "is no fuzz target" } else { "is a fuzz target in no row" };
        Finding::new(PATH, 1, format!("`{name}` {what}"), "name each target in the row of what it reads")
    };
    named.symmetric_difference(&there).map(finding).collect()
}

/// Where product code first reads bytes.
fn reads<'a>(source: &'a SourceFile, table: &Table) -> Option<(&'a str, usize)> {
    let is_product = source.path.starts_with("crates/") && !source.path.starts_with("crates/harness/");
    if !is_product || source.path.ends_with("_tests.rs") {
        return None;
    }
    let calls = table.calls.iter().flat_map(|call| source::words(&source.code, call));
    let functions =
        source::words(&source.code, "fn").filter(|at| takes_bytes(&source.code, *at, &table.verbs));
    let lines = calls.chain(functions).map(|at| source::line_of(&source.code, at));
    lines.filter(|line| !source.is_test_line(*line)).min().map(|line| (source.path.as_str(), line))
}

/// Whether the function at this place has the name of one that reads, and is given bytes.
fn takes_bytes(code: &str, at: usize, verbs: &[String]) -> bool {
    let head = code.get(at + 2..).and_then(|rest| rest.split(['{', ';']).next()).unwrap_or_default();
    let (name, parameters) = head.split_once('(').unwrap_or_default();
    let name = name.trim();
    let is_verb = |verb: &String| {
        name.strip_prefix(verb.as_str()).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
    };
    let parameters = parameters.split("->").next().unwrap_or_default();
    verbs.iter().any(is_verb) && ["[u8", "Bytes"].iter().any(|bytes| parameters.contains(bytes))
}

#[cfg(test)]
mod tests {
    use super::{Table, check};
    use crate::source::SourceFile;

    fn findings_of(path: &str, raw: &str) -> Vec<String> {
        let table: Table = toml::from_str(
            "calls = ['serde_json::from_slice']\nverbs = ['read']\n\
             [[parser]]\ntargets = ['fuzz_a']\nplaces = ['crates/a/src/']\n\
             [[excepted]]\nplaces = ['crates/b/src/own.rs']\nreason = 'its own'\n",
        )
        .unwrap();
        let rows = [
            ("crates/a/src/lib.rs", "fn read(bytes: &[u8]) {}"),
            ("crates/b/src/own.rs", "serde_json::from_slice(x)"),
            ("fuzz/tests/it/a.rs", "#[test]\nfn fuzz_a() {}"),
        ];
        let own = (path, raw);
        let kept = rows.iter().filter(|(other, _)| *other != path).chain([&own]);
        let sources: Vec<SourceFile> = kept.map(|(path, raw)| SourceFile::new(path, raw)).collect();
        check(&sources, &table).iter().map(|one| format!("{}:{}: {}", one.path, one.line, one.what)).collect()
    }

    #[test]
    fn what_reads_bytes_has_a_row() {
        let found = ["crates/c/src/lib.rs:2: reads bytes, and has no fuzz target"];
        for raw in [
            "\nlet x: A = serde_json::from_slice(&body)?;",
            "\nfn read_head<'a>(\n    bytes: &'a [u8],\n) -> A {}",
            "\npub fn read(self, body: &Bytes) -> A {}",
        ] {
            assert_eq!(findings_of("crates/c/src/lib.rs", raw), found, "{raw}");
            for path in ["crates/a/src/more.rs", "crates/harness/src/a.rs", "crates/c/tests/it/a.rs"] {
                assert!(findings_of(path, raw).is_empty(), "{path}");
            }
        }
        for raw in ["fn ready(a: &[u8]) {}", "fn read(a: &str) -> Vec<[u8; 2]> {}", "fn write(a: &[u8]) {}"] {
            assert!(findings_of("crates/c/src/lib.rs", raw).is_empty(), "{raw}");
        }
    }

    #[test]
    fn rows_without_their_reader_or_target_fail() {
        assert_eq!(
            findings_of("crates/b/src/own.rs", ""),
            ["xtask/parsers.toml:1: nothing at crates/b/src/own.rs reads bytes"]
        );
        assert_eq!(
            findings_of("fuzz/tests/it/a.rs", "#[test]\nfn fuzz_b() {}"),
            [
                "xtask/parsers.toml:1: `fuzz_a` is no fuzz target",
                "xtask/parsers.toml:1: `fuzz_b` is a fuzz target in no row"
            ]
        );
    }
}
