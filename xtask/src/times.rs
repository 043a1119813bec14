//! `cargo xtask times`: what each test took in the last run of `make test`, slowest first.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};

/// Written by cargo-nextest; `.config/nextest.toml` says where.
const REPORT: &str = "target/nextest/ci/junit.xml";
/// Every test with its seconds, for `sort`, `join` and spreadsheets.
const KEPT: &str = "target/test-times.tsv";
const SHOWN: usize = 10;

#[derive(Debug, PartialEq)]
struct Test {
    seconds: f64,
    name: String,
}

/// Writes the times of all tests to `target/test-times.tsv`, and prints the slowest.
///
/// # Errors
/// There is no report of a run, or the file can't be written.
pub fn show(root: &Path) -> Result<()> {
    let report = std::fs::read_to_string(root.join(REPORT)).with_context(|| format!("reading {REPORT}"))?;
    let mut tests = tests(&report);
    tests.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    let mut table = String::new();
    for Test { seconds, name } in &tests {
        writeln!(table, "{seconds:.3}\t{name}")?;
    }
    std::fs::write(root.join(KEPT), table).with_context(|| format!("writing {KEPT}"))?;
    let sum: f64 = tests.iter().map(|test| test.seconds).sum();
    println!("{} tests took {sum:.0} s one after the other (all of them: {KEPT}); the slowest:", tests.len());
    for Test { seconds, name } in tests.iter().take(SHOWN) {
        println!("{seconds:8.1} s  {name}");
    }
    Ok(())
}

/// The cases of a JUnit report, each in one tag: `<testcase name="…" classname="…" … time="…">`.
fn tests(report: &str) -> Vec<Test> {
    let tags = report.split("<testcase").skip(1).filter_map(|rest| rest.split('>').next());
    let test = |tag: &str| {
        let name = format!("{} {}", attribute(tag, "classname")?, attribute(tag, "name")?);
        Some(Test { seconds: attribute(tag, "time")?.parse().ok()?, name })
    };
    tags.filter_map(test).collect()
}

fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    let (_, value) = tag.split_once(&format!(" {name}=\""))?;
    value.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::{Test, tests};

    #[test]
    fn each_case_is_read_with_its_time() {
        let report = r#"<?xml version="1.0"?><testsuites name="t" time="9.0"><testsuite name="plan">
            <testcase classname="plan" name="broker::tests::a" timestamp="x" time="0.250"></testcase>
            <testcase classname="journeys::it" name="kill::b" time="12.5"><failure type="f">name="no"</failure></testcase>
        </testsuite></testsuites>"#;
        let test = |seconds: f64, name: &str| Test { seconds, name: name.to_owned() };
        assert_eq!(tests(report), [test(0.25, "plan broker::tests::a"), test(12.5, "journeys::it kill::b")]);
    }
}
