//! `cargo xtask budget`: what each crate and each module of tests costs in core-seconds, against what it may.
//!
//! A core-second is a second of user or system time, whoever waits for it: unlike the wall clock, it says the same on a busy machine.
//! `tests/budget.toml` holds what one run of everything measured. Before anything is compiled, `check` compares the sources with it: what
//! grew must be measured anew, or say why. After a run, `show` prints what was counted beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::finding::Finding;
use crate::graph::Graph;
use crate::tiers::{self, Gates};
use crate::tree;

pub const PATH: &str = "tests/budget.toml";
/// Written by `scripts/test.sh`, its compiler and its runner of tests.
const TIMES: &str = "target/times";
/// A module may grow by this much before it is measured anew.
const GROWTH_PERCENT_MAX: usize = 25;
const GROWTH_LINES_MIN: usize = 120;
const SHOWN: usize = 12;
/// In the place of a tier, for the parts of every run.
const EVERY_RUN: &str = "every run";

#[derive(Debug, Default, Deserialize)]
pub struct Budget {
    /// Where and when the rows were measured.
    measured: String,
    /// What everything cost on that machine before there were tiers: every run was a run of everything.
    whole_before: f64,
    /// The most that the rows of every run may cost together.
    every_run_max: f64,
    /// Why a row may cost more than was measured, by its key.
    #[serde(default)]
    reasons: BTreeMap<String, String>,
    /// By key: `step NAME`, `build CRATE`, `tests CRATE` and `journeys MODULE`, with the tier behind an `@` where only it has that part.
    rows: BTreeMap<String, Row>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize, PartialEq)]
struct Row {
    core_seconds: f64,
    /// Of the sources that cost it.
    #[serde(default)]
    lines: usize,
}

impl Budget {
    pub fn whole_before(&self) -> f64 {
        self.whole_before
    }

    /// What every run costs, whatever changed.
    pub fn of_every_run(&self) -> f64 {
        self.sum(|key| tiers::of_key(key).is_none())
    }

    /// What a tier costs beside that.
    pub fn of_tier(&self, tier: &str) -> f64 {
        self.sum(|key| tiers::of_key(key) == Some(tier))
    }

    fn sum(&self, wanted: impl Fn(&str) -> bool) -> f64 {
        self.rows.iter().filter(|(key, _)| wanted(key)).map(|(_, row)| row.core_seconds).sum()
    }

    #[cfg(test)]
    pub fn for_tests(whole_before: f64, every: f64, tiers: &[(&str, f64)]) -> Self {
        let row = |core_seconds| Row { core_seconds, lines: 0 };
        let of_tiers = tiers.iter().map(|(tier, cost)| (format!("tests x@{tier}"), row(*cost)));
        let rows = of_tiers.chain([("step x".to_owned(), row(every))]).collect();
        Self { whole_before, every_run_max: every, rows, ..Self::default() }
    }
}

/// What the sources would cost, by what was measured of them: what grew or is new without a row, and whether all of it fits.
pub fn check(root: &Path) -> Result<(Vec<Finding>, String)> {
    let budget: Budget = tree::read_table(root, PATH)?;
    let lines = lines(root, &Gates::read(root, &Graph::load(root)?)?)?;
    let mut findings = grown(&budget, &lines);
    let (costs, most) = (budget.of_every_run(), budget.every_run_max);
    if costs > most {
        let what = format!("every run costs {costs:.0} core-seconds, and may cost {most:.0}");
        let fix = "move what only some changes can break to a tier, or raise `every_run_max` with the reason in the change";
        findings.push(Finding::new(PATH, 1, what, fix));
    }
    let whole = budget.sum(|_| true);
    let before = budget.whole_before;
    Ok((
        findings,
        format!(
            "budget: {costs:.0} of {most:.0} core-seconds for every run, {whole:.0} for everything ({before:.0} before tiers)"
        ),
    ))
}

fn grown(budget: &Budget, lines: &BTreeMap<String, usize>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (key, now) in lines.iter().filter(|(key, _)| !budget.reasons.contains_key(*key)) {
        // Whatever tier it was of.
        let same = budget.rows.iter().filter(|(row, _)| row.split('@').next() == key.split('@').next());
        let before = same.map(|(_, row)| row.lines).max().unwrap_or(0);
        if *now > before + GROWTH_LINES_MIN.max(before * GROWTH_PERCENT_MAX / 100) {
            let what = format!("`{key}` has {now} lines, and was measured with {before}");
            let fix = "measure it (`make test-whole`, then `cargo xtask budget write`), or say under `reasons` why it may cost more";
            findings.push(Finding::new(PATH, 1, what, fix));
        }
    }
    findings
}

/// The lines of sources behind each row of a crate's build and each module of journeys.
fn lines(root: &Path, gates: &Gates) -> Result<BTreeMap<String, usize>> {
    let mut lines = BTreeMap::new();
    for path in tree::files(root, |name| name.ends_with(".rs"))? {
        let key = match path.split('/').collect::<Vec<_>>().as_slice() {
            ["tests", "tests", "it", module, ..] => {
                format!("journeys {}", gates.module(module.trim_end_matches(".rs")))
            }
            ["tests", "tests", binary, ..] => format!("journeys {binary}"),
            ["crates", name, ..] => format!("build {}", gates.package(name)),
            _ => continue,
        };
        *lines.entry(key).or_default() += tree::read(root, &path)?.lines().count();
    }
    Ok(lines)
}

/// The gates, with which of other people's crates only a tier compiles.
fn gates(root: &Path) -> Result<Gates> {
    Gates::read(root, &Graph::load(root)?)?.with_others(root)
}

/// The costs of the last run of `make test` or `make test-whole`, by the keys of the budget.
fn counted(root: &Path, gates: &Gates) -> Result<BTreeMap<String, Row>> {
    let lines = lines(root, gates)?;
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    let mut add = |key: String, seconds: f64| {
        let lines = lines.get(&key).copied().unwrap_or(0);
        let row = rows.entry(key).or_insert(Row { core_seconds: 0.0, lines });
        row.core_seconds += seconds;
    };
    let members: BTreeSet<String> = gates.members().cloned().collect();
    let mut inside = 0.0;
    for line in read(root, "rustc")? {
        let [name, user, system] = line.as_slice() else { continue };
        let seconds = cpu(user) + cpu(system);
        inside += seconds;
        if name == "journeys" {
            gates.shares().for_each(|(tier, share)| add(format!("build journeys{tier}"), seconds * share));
        } else if members.contains(name) {
            add(format!("build {}", gates.package(name)), seconds);
        } else {
            add(format!("build others{}", gates.of_other(name)), seconds);
        }
    }
    for line in read(root, "tests")? {
        let [package, binary, test, user, system] = line.as_slice() else { continue };
        let seconds = cpu(user) + cpu(system);
        let key = match (package.as_str(), binary.as_str()) {
            ("journeys", "journeys::it") => format!("journeys {}", gates.test(test)),
            ("journeys", other) => format!("journeys {}", other.trim_start_matches("journeys::")),
            (other, _) => format!("tests {}", gates.package(other)),
        };
        inside += seconds;
        add(key, seconds);
    }
    for line in read(root, "steps")? {
        let [title, seconds] = line.as_slice() else { continue };
        let seconds: f64 = seconds.parse().unwrap_or(0.0);
        match title.as_str() {
            // Compilers and tests have rows of their own; what is left is cargo, nextest, and the C libraries that build scripts compile.
            "build" | "tests" => inside -= seconds,
            title if OF_WHOLE.contains(&title) => add(format!("step {title}@whole"), seconds),
            _ => add(format!("step {title}"), seconds),
        }
    }
    add("step cargo and C libraries".to_owned(), (-inside).max(0.0));
    // Helpers of tests cost nothing by themselves, and are listed because they may grow.
    for (key, lines) in lines {
        rows.entry(key).or_insert(Row { core_seconds: 0.0, lines });
    }
    Ok(rows)
}

/// Of the shell's `times`: `1m2.5s`.
fn cpu(text: &str) -> f64 {
    let (minutes, seconds) = text.trim_end_matches('s').split_once('m').unwrap_or_default();
    minutes.parse::<f64>().unwrap_or(0.0) * 60.0 + seconds.parse::<f64>().unwrap_or(0.0)
}

fn read(root: &Path, name: &str) -> Result<Vec<Vec<String>>> {
    let path = root.join(TIMES).join(name);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("{}: run `make test` first", path.display()))?;
    Ok(text.lines().map(|line| line.split('\t').map(ToOwned::to_owned).collect()).collect())
}

/// Prints what the last run counted, the dearest first, beside what was measured before.
///
/// # Errors
/// There was no run, or the budget can't be read.
pub fn show(root: &Path) -> Result<()> {
    let (budget, counted): (Budget, _) = (tree::read_table(root, PATH)?, counted(root, &gates(root)?)?);
    let mut rows: Vec<(&String, &Row)> = counted.iter().collect();
    rows.sort_by(|a, b| b.1.core_seconds.total_cmp(&a.1.core_seconds));
    let all: f64 = rows.iter().map(|(_, row)| row.core_seconds).sum();
    let known: f64 =
        rows.iter().filter_map(|(key, _)| budget.rows.get(*key)).map(|row| row.core_seconds).sum();
    println!(
        "{all:.0} core-seconds; the same parts took {known:.0} when they were measured ({}). The dearest:",
        budget.measured
    );
    for (key, row) in rows.iter().take(SHOWN) {
        let before = budget.rows.get(*key).map_or("new".to_owned(), |row| format!("{:.0}", row.core_seconds));
        println!("{:8.1}  {before:>6}  {key}", row.core_seconds);
    }
    let mut tests = tests(root)?;
    tests.sort_by(|a, b| b.1.total_cmp(&a.1));
    println!("{} tests; the dearest ({TIMES}/tests has all):", tests.len());
    for (name, seconds) in tests.iter().take(SHOWN) {
        println!("{seconds:8.1}  {name}");
    }
    Ok(())
}

/// Each test that ran, by the name that nextest prints, with its core-seconds.
fn tests(root: &Path) -> Result<Vec<(String, f64)>> {
    let named = |line: &Vec<String>| match line.as_slice() {
        [_, binary, test, user, system] => Some((format!("{binary} {test}"), cpu(user) + cpu(system))),
        _ => None,
    };
    Ok(read(root, "tests")?.iter().filter_map(named).collect())
}

/// Prints how many tests of each tier ran, and what each tier took: what `docs/proofs/whole.txt` keeps of a run.
///
/// # Errors
/// There was no run.
pub fn by_tier(root: &Path) -> Result<()> {
    let gates = gates(root)?;
    let mut tiers: BTreeMap<String, (usize, f64)> = BTreeMap::new();
    for (key, row) in counted(root, &gates)? {
        tiers.entry(tiers::of_key(&key).unwrap_or(EVERY_RUN).to_owned()).or_default().1 += row.core_seconds;
    }
    for (tier, tests) in tested(root, &gates)? {
        tiers.entry(tier).or_default().0 += tests;
    }
    println!("{:12} {:>6} {:>13}", "tier", "tests", "core-seconds");
    for (tier, (tests, seconds)) in &tiers {
        println!("{tier:12} {tests:6} {seconds:13.0}");
    }
    let (tests, seconds) = tiers.values().fold((0, 0.0), |sum, tier| (sum.0 + tier.0, sum.1 + tier.1));
    println!("{:12} {tests:6} {seconds:13.0}", "all");
    Ok(())
}

/// How many tests of each tier ran.
fn tested(root: &Path, gates: &Gates) -> Result<BTreeMap<String, usize>> {
    let mut tested = BTreeMap::new();
    for line in read(root, "tests")? {
        let [package, binary, test, ..] = line.as_slice() else { continue };
        let key = if binary == "journeys::it" { gates.test(test) } else { gates.package(package) };
        *tested.entry(tiers::of_key(&key).unwrap_or(EVERY_RUN).to_owned()).or_default() += 1;
    }
    Ok(tested)
}

/// Steps that only `make test-whole` has.
const OF_WHOLE: [&str; 4] = ["a new operation", "clippy without the engine", "Helm chart", "accelerators"];

/// Whether a row is of work that a machine does once. A run that finds it done measures too little.
fn is_made_once(key: &str) -> bool {
    let made =
        ["build others", "step cargo and C libraries", "step checks", "step console", "step environment"];
    made.iter().any(|one| key.starts_with(one))
}

/// Takes over what a run of everything counted; `every_run_max` and the reasons stay.
///
/// # Errors
/// There was no such run, or the file can't be written.
pub fn write(root: &Path, measured: &str) -> Result<()> {
    let gates = gates(root)?;
    let (old, mut counted): (Budget, _) = (tree::read_table(root, PATH)?, counted(root, &gates)?);
    for (key, before) in old.rows.iter().filter(|(key, _)| is_made_once(key)) {
        let row = counted.entry(key.clone()).or_insert(*before);
        row.core_seconds = row.core_seconds.max(before.core_seconds);
    }
    let table: tiers::Table = tree::read_table(root, tiers::PATH)?;
    let tested = tested(root, &gates)?;
    for tier in &table.tiers {
        let name = &tier.name;
        ensure!(tested.contains_key(name), "no test of {name} ran: only a run of everything is taken over");
    }
    let text = tree::read(root, PATH)?;
    let head: String =
        text.lines().take_while(|line| line.starts_with('#')).map(|line| format!("{line}\n")).collect();
    let mut out = format!(
        "{head}measured = {measured:?}\nwhole_before = {:.0}\nevery_run_max = {:.0}\n\n[reasons]\n",
        old.whole_before, old.every_run_max
    );
    for (key, reason) in &old.reasons {
        writeln!(out, "{key:?} = {reason:?}")?;
    }
    out.push_str("\n[rows]\n");
    for (key, row) in &counted {
        let lines = if row.lines > 0 { format!(", lines = {}", row.lines) } else { String::new() };
        writeln!(out, "{key:?} = {{ core_seconds = {:.1}{lines} }}", row.core_seconds)?;
    }
    std::fs::write(root.join(PATH), out).with_context(|| format!("writing {PATH}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Budget, Row, grown};

    #[test]
    fn a_part_that_grew_is_measured_anew_or_says_why() {
        let row = |lines| Row { core_seconds: 1.0, lines };
        let rows = [("build plan".to_owned(), row(1_000)), ("journeys keys".to_owned(), row(100))].into();
        let mut budget = Budget { rows, ..Budget::default() };
        let lines = |plan, keys, new| {
            BTreeMap::from([
                ("build plan".into(), plan),
                ("journeys keys".into(), keys),
                ("journeys new".into(), new),
            ])
        };
        assert_eq!(grown(&budget, &lines(1_200, 200, 100)), []);
        assert_eq!(grown(&budget, &lines(1_300, 300, 200)).len(), 3);
        budget.reasons.insert("journeys new".into(), "a capability of its own".into());
        assert_eq!(grown(&budget, &lines(1_000, 100, 900)), []);
    }

    #[test]
    fn a_tier_costs_what_its_rows_cost() {
        let budget = Budget::for_tests(100.0, 40.0, &[("a", 5.0), ("b", 7.0)]);
        assert_eq!((budget.of_every_run(), budget.of_tier("a"), budget.of_tier("b")), (40.0, 5.0, 7.0));
    }
}
