//! Checks that each fault code in product code has a row in `crates/domain/src/fault_codes.rs`, and each row a use
//! and a test.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::finding::Finding;
use crate::source::{self, SourceFile};

/// The table of codes.
const PATH: &str = "crates/domain/src/fault_codes.rs";
/// Functions that take a code from other files, and which argument it is. Those of the same file are found by
/// their signatures.
const FUNCTIONS: [(&str, usize); 3] = [("Fault::new", 1), ("conflict", 0), ("refuses", 1)];

pub fn check(sources: &[SourceFile]) -> Vec<Finding> {
    let mut unused: BTreeMap<&str, usize> = BTreeMap::new();
    for table in sources.iter().filter(|source| source.path == PATH) {
        unused.extend(literals(table).map(|(line, code)| (code, line)));
    }
    let rows = unused.clone();
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| is_product(&source.path)) {
        for (line, code) in codes(source).filter(|(_, code)| !rows.contains_key(code)) {
            let what = format!("the fault code `{code}` has no row");
            findings.push(Finding::new(&source.path, line, what, format!("say what it means in {PATH}")));
        }
        for (_, code) in literals(source) {
            unused.remove(code);
        }
    }
    let tested = words_of_tests(sources);
    findings.extend(rows.into_iter().filter_map(|(code, line)| {
        let (what, fix) = if unused.contains_key(code) {
            ("no code makes a fault", "remove the row")
        } else if tested.contains(code) {
            return None;
        } else {
            ("no test names the fault code", "provoke it in a test")
        };
        Some(Finding::new(PATH, line, format!("{what} `{code}`"), fix))
    }));
    findings
}

/// The words of tests of the product: a code may be compared with a literal, or be part of a longer one.
fn words_of_tests(sources: &[SourceFile]) -> BTreeSet<&str> {
    let is_of_tests = |source: &&SourceFile| is_product(&source.path) || source.path.starts_with("tests/");
    let lines = sources.iter().filter(is_of_tests).flat_map(|source| {
        let is_test_file = source.path.ends_with("_tests.rs");
        let lines = source.text.lines().zip(1..);
        lines.filter(move |(_, line)| is_test_file || source.is_test_line(*line)).map(|(text, _)| text)
    });
    lines.flat_map(|text| text.split(|c: char| !c.is_alphanumeric() && c != '_')).collect()
}

fn is_product(path: &str) -> bool {
    path.starts_with("crates/") && !path.starts_with("crates/harness/") && path != PATH
}

/// The literals that stand as the code in a call, with their lines.
fn codes(source: &SourceFile) -> impl Iterator<Item = (usize, &str)> {
    let mut functions = FUNCTIONS.to_vec();
    functions.extend(functions_of(&source.code));
    functions.extend(closures_of(&source.code));
    functions.into_iter().flat_map(move |(name, position)| calls(source, name, position))
}

fn calls<'s>(
    source: &'s SourceFile,
    name: &'s str,
    position: usize,
) -> impl Iterator<Item = (usize, &'s str)> {
    source::words(&source.code, name).filter_map(move |at| {
        let open = at + name.len();
        if !source.code.get(open..)?.starts_with('(') {
            return None;
        }
        let argument = arguments(&source.code, open).nth(position)?;
        let start = argument.start;
        let argument = source.text.get(argument)?;
        let code = argument.trim().strip_prefix('"')?.strip_suffix('"')?;
        let line = source::line_of(&source.code, start + argument.find('"')?);
        (!source.is_test_line(line)).then_some((line, code))
    })
}

/// Functions of a file that take `code` and make a fault of it, with the code's position.
fn functions_of(code: &str) -> impl Iterator<Item = (&str, usize)> {
    source::words(code, "fn").filter_map(|at| {
        let signature = code.get(at..)?.split(['{', ';']).next()?;
        if !signature.contains("code: &'static str") || !signature.contains("Fault") {
            return None;
        }
        let open = at + signature.find('(')?;
        let name = code.get(at + "fn".len()..open)?.trim().split('<').next()?;
        let named = |argument: Range<usize>| code.get(argument).unwrap_or_default().trim();
        let arguments = arguments(code, open).map(named).filter(|argument| !argument.ends_with("self"));
        Some((name, arguments.take_while(|argument| !argument.starts_with("code:")).count()))
    })
}

/// Closures of a file whose first argument is `code`.
fn closures_of(code: &str) -> impl Iterator<Item = (&str, usize)> {
    code.match_indices("|code").filter_map(|(at, _)| {
        let binding = code.get(..at)?.trim_end().strip_suffix('=')?.trim_end();
        Some((binding.rsplit(char::is_whitespace).next()?, 0))
    })
}

/// The ranges of the arguments in the parentheses that open at `open`.
fn arguments(code: &str, open: usize) -> impl Iterator<Item = Range<usize>> {
    let (mut start, mut depth, mut is_over) = (open + 1, 0_usize, false);
    code.get(open + 1..).unwrap_or_default().char_indices().filter_map(move |(ahead, c)| {
        let at = open + 1 + ahead;
        let ends = !is_over && depth == 0 && matches!(c, ',' | ')');
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth > 0 => depth -= 1,
            ')' => is_over = true,
            _ => {}
        }
        ends.then(|| std::mem::replace(&mut start, at + 1)..at)
    })
}

/// The literals of product code that could be codes, with their lines.
fn literals(source: &SourceFile) -> impl Iterator<Item = (usize, &str)> {
    let lines = source.text.lines().zip(1..).filter(|(_, line)| !source.is_test_line(*line));
    lines.flat_map(|(text, line)| {
        text.match_indices('"').filter_map(move |(at, _)| {
            let rest = text.get(at + 1..)?;
            let end = rest.find(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit() && c != '_')?;
            let is_literal = end > 0 && rest.get(end..)?.starts_with('"');
            is_literal.then(|| rest.get(..end).map(|code| (line, code))).flatten()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::{PATH, check};
    use crate::source::SourceFile;

    /// The findings for a file beside a table with the row `known`.
    fn findings_of(path: &str, raw: &str) -> Vec<String> {
        let table = "pub const FAULT_CODES: &[(&str, &str)] = &[\n    (\"known\", \"Known to all.\"),\n];\n";
        let used = SourceFile::new("crates/z/src/z.rs", "const USED: &str = \"known\";");
        let test = SourceFile::new("tests/a.rs", "\"known\"");
        let findings = check(&[SourceFile::new(PATH, table), used, test, SourceFile::new(path, raw)]);
        findings.into_iter().map(|finding| format!("{}: {}", finding.line, finding.what)).collect()
    }

    #[test]
    fn codes_without_a_row_are_found_in_calls() {
        for raw in [
            "Fault::new(FaultClass::Upstream, \"gone\", message)",
            "domain::Fault::new(class(a, b), \"gone\", format!(\"{a}, {b}\"))",
            "StoreError::conflict(\"gone\", detail, None)",
            "return conflict(\"gone\", detail);",
            "route.refuses(409, \"gone\")",
            "fn bad(code: &'static str) -> Fault { } bad(\"gone\")",
            "fn bad<T>(&self, at: u8, code: &'static str) -> Box<Fault> { } self.bad(1, \"gone\")",
            "let refused = |code, message| { }; refused(\"gone\", message)",
        ] {
            assert_eq!(
                findings_of("crates/a/src/b.rs", raw),
                ["1: the fault code `gone` has no row"],
                "{raw}"
            );
            assert!(findings_of("crates/a/src/b.rs", &raw.replace("gone", "known")).is_empty(), "{raw}");
        }
    }

    #[test]
    fn a_code_is_found_on_a_line_of_its_own() {
        let raw = "Fault::new(\n    // why\n    FaultClass::Upstream,\n    \"gone\",\n)";
        assert_eq!(findings_of("crates/a/src/b.rs", raw), ["4: the fault code `gone` has no row"]);
    }

    #[test]
    fn other_arguments_functions_tests_and_emulators_pass() {
        for raw in [
            "Fault::new(class, code, \"gone\")",
            "StreamFault::new(class, \"gone\")",
            "// Fault::new(class, \"gone\")",
            "fn bad(field: &'static str) -> Fault { } bad(\"gone\")",
            "fn count(code: &'static str) { } count(\"gone\")",
            "#[cfg(test)]\nmod tests { fn a() { Fault::new(class, \"gone\") } }",
        ] {
            assert!(findings_of("crates/a/src/b.rs", raw).is_empty(), "{raw}");
        }
        assert!(findings_of("crates/harness/src/b.rs", "Fault::new(class, \"gone\")").is_empty());
        assert!(findings_of("tests/src/b.rs", "Fault::new(class, \"gone\")").is_empty());
    }

    #[test]
    fn a_row_that_only_tests_use_is_found() {
        let table =
            SourceFile::new(PATH, "const A: &[(&str, &str)] = &[\n    (\"gone\", \"It is gone.\")\n];");
        let used = SourceFile::new("crates/a/src/b.rs", "#[cfg(test)]\nmod tests { fn a() { \"gone\" } }");
        let findings: Vec<_> = check(&[table, used]).into_iter().map(|finding| finding.to_string()).collect();
        assert_eq!(findings, [format!("{PATH}:2: no code makes a fault `gone`\n    fix: remove the row")]);
    }

    #[test]
    fn a_row_that_no_test_names_is_found() {
        let findings_of = |tests: &[(&str, &str)]| {
            let table = "const A: &[(&str, &str)] = &[\n    (\"gone\", \"It is gone.\")\n];";
            let mut sources = vec![SourceFile::new(PATH, table)];
            sources.push(SourceFile::new("crates/a/src/b.rs", "Fault::new(class, \"gone\", message)"));
            sources.extend(tests.iter().map(|(path, raw)| SourceFile::new(path, raw)));
            check(&sources).into_iter().map(|finding| finding.to_string()).collect::<Vec<_>>()
        };
        let untested =
            [format!("{PATH}:2: no test names the fault code `gone`\n    fix: provoke it in a test")];
        for (path, raw) in [
            ("crates/b/src/b.rs", "const OTHER: &str = \"gone\";"),
            ("tests/a.rs", "// gone\nlet begone = \"gone_too\";"),
            ("crates/harness/src/b.rs", "#[cfg(test)]\nmod tests { fn a() { \"gone\" } }"),
        ] {
            assert_eq!(findings_of(&[(path, raw)]), untested, "{path}");
        }
        for (path, raw) in [
            ("tests/a.rs", "assert_eq!(code, \"gone\")"),
            ("crates/b/src/b_tests.rs", "assert_eq!(code, \"gone\")"),
            ("crates/b/tests/it/c.rs", "r#\"{\"code\":\"gone\"}\"#"),
            ("crates/b/src/b.rs", "#[cfg(test)]\nmod tests { fn a() { \"gone\" } }"),
        ] {
            assert_eq!(findings_of(&[(path, raw)]), [""; 0], "{path}");
        }
    }
}
