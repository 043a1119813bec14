//! `cargo xtask affected`: which tiers of tests a change names, and what `make test` builds and runs because of it.
//!
//! What any change can break is in every run. The breadth is in tiers (`tests/tiers.toml`): each is a feature of the package
//! `journeys`, or packages of their own, and runs where a file changed that it tests since the last run of everything.

pub mod gates;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::budget::Budget;
use crate::change::{changed_files, git};
use crate::graph::Graph;
use crate::tree;

pub use gates::Gates;

pub const PATH: &str = "tests/tiers.toml";
/// What the last run of everything wrote.
pub const WHOLE: &str = "docs/proofs/whole.txt";
/// What a run leaves there, the record itself among it, changes nothing.
const PROOFS: &str = "docs/proofs/";
/// Names no tier, where others would be named.
const NONE: &str = "core";
/// Of what all tests cost, the most that `make test` may.
const SHARE_PERCENT_MAX: f64 = 80.0;

#[derive(Deserialize)]
pub struct Table {
    /// Paths whose change can break every tier.
    everywhere: Vec<String>,
    #[serde(rename = "tier")]
    pub tiers: Vec<Tier>,
}

#[derive(Deserialize)]
pub struct Tier {
    pub name: String,
    /// What its tests see to, for people.
    what: String,
    /// The workspace members whose behaviour it tests.
    #[serde(default)]
    pub crates: Vec<String>,
    /// Other files, as the beginnings of their paths.
    #[serde(default)]
    paths: Vec<String>,
    /// Features with which its tests are compiled.
    #[serde(default)]
    pub features: Vec<String>,
    /// Workspace members that only it compiles.
    #[serde(default)]
    pub packages: Vec<String>,
}

/// The tier of a key such as `journeys keys@sdk`; none where every run has that part.
pub fn of_key(key: &str) -> Option<&str> {
    key.rsplit_once('@').map(|(_, tier)| tier)
}

/// How near a change is to a tier: how many imports are between them (none where its own files changed), and how many files changed
/// there.
type Nearness = (usize, Reverse<usize>);

/// What one run of the tests consists of.
#[derive(Default)]
struct Choice<'a> {
    chosen: Vec<&'a Tier>,
    left: Vec<&'a Tier>,
}

/// Prints for people (on the standard error) what is chosen and why, and for `scripts/test.sh` the assignments that follow from it.
///
/// # Errors
/// The table, the budget or the history can't be read.
pub fn affected(root: &Path, mode: &Mode<'_>) -> Result<()> {
    let (table, graph) = (tree::read_table::<Table>(root, PATH)?, Graph::load(root)?);
    let budget: Budget = tree::read_table(root, crate::budget::PATH)?;
    let choice = match mode {
        Mode::Whole => Choice { chosen: table.tiers.iter().collect(), left: Vec::new() },
        Mode::Named(names) => named(&table, names)?,
        Mode::Changed => {
            let (since, changed) = changed(root)?;
            eprintln!("  {} files differ from {since}", changed.len());
            fitting(&table, &budget, &nearness(&table, &graph, &Gates::read(root, &graph)?, &changed))
        }
    };
    for tier in &choice.chosen {
        eprintln!("  {:12} {}", tier.name, tier.what);
    }
    if choice.chosen.is_empty() {
        eprintln!("  no tier: what changed is seen by the tests of every run");
    }
    for tier in &choice.left {
        eprintln!("  {:12} LEFT to `make test-whole`: it would cost more than a run may", tier.name);
    }
    print!("{}", assignments(&table, &choice));
    Ok(())
}

/// What a run is asked for.
pub enum Mode<'a> {
    Whole,
    Changed,
    Named(&'a str),
}

fn named<'a>(table: &'a Table, names: &str) -> Result<Choice<'a>> {
    let mut choice = Choice::default();
    for name in names.split([' ', ',']).filter(|name| !["", NONE].contains(name)) {
        let tier = table.tiers.iter().find(|tier| tier.name == name);
        choice.chosen.push(tier.with_context(|| format!("{PATH} has no tier {name}"))?);
    }
    Ok(choice)
}

/// The commit of the last run of everything, or none that this history has, and the files that differ from it.
fn changed(root: &Path) -> Result<(String, BTreeSet<String>)> {
    let whole = tree::read(root, WHOLE).unwrap_or_default();
    let commit = whole.lines().find_map(|line| line.strip_prefix("commit:")).map(str::trim);
    if let Some(commit) = commit.filter(|commit| git(root, &["cat-file", "-e", commit]).is_ok()) {
        return Ok((commit.to_owned(), changed_files(root, commit)?));
    }
    let all = git(root, &["ls-files"])?;
    Ok(("nothing (no run of everything is kept)".to_owned(), all.lines().map(ToOwned::to_owned).collect()))
}

/// The tiers that these files are of, and how near they are.
fn nearness(
    table: &Table,
    graph: &Graph,
    gates: &Gates,
    changed: &BTreeSet<String>,
) -> BTreeMap<String, Nearness> {
    let importers = importers(graph);
    let mut near: BTreeMap<String, Nearness> = BTreeMap::new();
    for path in changed.iter().filter(|path| !path.starts_with(PROOFS)) {
        let owner = graph.owner(path).map(|package| package.name.to_string());
        let reached = owner.as_deref().map(|name| reached(name, &importers)).unwrap_or_default();
        let is_test = path.split('/').nth(2) == Some("tests");
        for tier in &table.tiers {
            let is_own = tier.paths.iter().any(|prefix| path.starts_with(prefix.as_str()));
            let own = (is_own || gates.has(path, &tier.name)).then_some(0);
            // Nobody imports a crate's own tests: they are of the tier that has the package, or of every run.
            let own_tests = tier.packages.iter().find(|name| owner.as_ref() == Some(*name)).map(|_| &0);
            let crates = tier.crates.iter().chain(&tier.packages).filter_map(|name| reached.get(name));
            let by_crate = if is_test { own_tests } else { crates.min() };
            let everywhere = table.everywhere.iter().any(|prefix| path.starts_with(prefix.as_str()));
            let distance = own.or(by_crate.copied()).or(everywhere.then_some(usize::MAX));
            let Some(distance) = distance else { continue };
            let (nearest, files) = near.entry(tier.name.clone()).or_insert((distance, Reverse(0)));
            if distance < *nearest {
                (*nearest, files.0) = (distance, 0);
            }
            files.0 += usize::from(distance == *nearest);
        }
    }
    near
}

/// For each workspace member, those that import it.
fn importers(graph: &Graph) -> BTreeMap<String, BTreeSet<String>> {
    let names: BTreeSet<String> = graph.members().map(|package| package.name.to_string()).collect();
    let mut importers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in graph.members() {
        let imported = package.dependencies.iter().filter(|import| names.contains(&import.name));
        for import in imported.filter(|import| import.kind != cargo_metadata::DependencyKind::Development) {
            importers.entry(import.name.clone()).or_default().insert(package.name.to_string());
        }
    }
    importers
}

/// The members that a change of this one can break, with the number of imports between.
fn reached(from: &str, importers: &BTreeMap<String, BTreeSet<String>>) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::from([(from.to_owned(), 0)]);
    let mut open = VecDeque::from([(from.to_owned(), 0)]);
    while let Some((name, distance)) = open.pop_front() {
        for importer in importers.get(&name).into_iter().flatten() {
            if !found.contains_key(importer) {
                found.insert(importer.clone(), distance + 1);
                open.push_back((importer.clone(), distance + 1));
            }
        }
    }
    found
}

/// The named tiers that fit into what a run may cost, the nearest first. What any change can break is always run.
fn fitting<'a>(table: &'a Table, budget: &Budget, near: &BTreeMap<String, Nearness>) -> Choice<'a> {
    let most = budget.whole_before() * SHARE_PERCENT_MAX / 100.0;
    let mut cost = budget.of_every_run();
    let mut named: Vec<&Tier> = table.tiers.iter().filter(|tier| near.contains_key(&tier.name)).collect();
    named.sort_by_key(|tier| near.get(&tier.name));
    let mut choice = Choice::default();
    for tier in named {
        let own = budget.of_tier(&tier.name);
        if cost + own <= most {
            cost += own;
            choice.chosen.push(tier);
        } else {
            choice.left.push(tier);
        }
    }
    choice
}

/// What `scripts/test.sh` evaluates: each value is made of names from the table.
fn assignments(table: &Table, choice: &Choice<'_>) -> String {
    let names = |tiers: &[&Tier]| tiers.iter().map(|tier| tier.name.as_str()).collect::<Vec<_>>().join(" ");
    let selection = selection(table, &choice.chosen);
    format!("tiers='{}'\nleft='{}'\nselection='{selection}'\n", names(&choice.chosen), names(&choice.left))
}

/// The arguments by which cargo builds what every run has, and these tiers.
pub fn selection(table: &Table, chosen: &[&Tier]) -> String {
    let wanted: BTreeSet<&String> = chosen.iter().flat_map(|tier| &tier.packages).collect();
    let excluded: BTreeSet<&String> = table
        .tiers
        .iter()
        .flat_map(|tier| &tier.packages)
        .filter(|package| !wanted.contains(package))
        .collect();
    // Cargo refuses the features of packages that it doesn't build.
    let is_built =
        |feature: &str| !excluded.iter().any(|package| feature.split('/').next() == Some(package.as_str()));
    let features: BTreeSet<&str> = chosen
        .iter()
        .flat_map(|tier| &tier.features)
        .map(String::as_str)
        .filter(|feature| is_built(feature))
        .collect();
    let mut arguments = "--workspace --no-default-features".to_owned();
    for package in excluded {
        arguments.push_str(" --exclude ");
        arguments.push_str(package);
    }
    if !features.is_empty() {
        arguments.push_str(" --features ");
        arguments.push_str(&features.into_iter().collect::<Vec<_>>().join(","));
    }
    arguments
}

/// The features with which cargo compiles all journeys.
pub fn features_of_journeys(root: &Path) -> Result<String> {
    let table: Table = tree::read_table(root, PATH)?;
    let features = table.tiers.iter().flat_map(|tier| &tier.features).map(String::as_str);
    Ok(features.filter(|feature| feature.starts_with("journeys/")).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;
    use std::collections::BTreeMap;

    use super::{Table, assignments, fitting, named, nearness};
    use crate::budget::Budget;
    use crate::graph::Graph;
    use crate::tree;

    fn table() -> Table {
        tree::read_table(&tree::root(), super::PATH).unwrap()
    }

    #[test]
    fn a_change_names_the_tiers_of_what_it_can_break() {
        let (table, graph) = (table(), Graph::load(&tree::root()).unwrap());
        let gates = super::Gates::read(&tree::root(), &graph).unwrap();
        let near = |path: &str| nearness(&table, &graph, &gates, &[path.to_owned()].into());
        assert_eq!(near("console/src/pages/Home.svelte").get("console"), Some(&(0, Reverse(1))));
        assert_eq!(near("crates/engine/src/lib.rs").get("engine"), Some(&(0, Reverse(1))));
        // `weights` has it in its table, and the engine imports it.
        assert!(near("crates/kernels/src/lib.rs").contains_key("engine"));
        // The gateway's vocabulary is imported by all, at some distance.
        assert!(near("crates/domain/src/lib.rs").get("vendors").is_some_and(|(distance, _)| *distance > 0));
        assert_eq!((near("LICENSE"), near(super::WHOLE)), (BTreeMap::new(), BTreeMap::new()));
        assert_eq!(near("Cargo.lock").len(), table.tiers.len());
        assert_eq!(near("crates/plan/tests/it/main.rs"), BTreeMap::new());
        assert_eq!(near("crates/engine/tests/it/main.rs"), [("engine".into(), (0, Reverse(1)))].into());
    }

    #[test]
    fn those_that_fit_are_run_the_nearest_first() {
        let table: Table = toml::from_str(
            "everywhere = []\n[[tier]]\nname = 'far'\nwhat = ''\n[[tier]]\nname = 'near'\nwhat = ''\nfeatures = ['j/near']\n\
             packages = ['own']\n[[tier]]\nname = 'free'\nwhat = ''\n",
        )
        .unwrap();
        let budget = Budget::for_tests(100.0, 40.0, &[("far", 30.0), ("near", 30.0), ("free", 0.0)]);
        let near = |name: &str, distance| (name.to_owned(), (distance, Reverse(1)));
        let choice = fitting(&table, &budget, &[near("far", 2), near("near", 0), near("free", 3)].into());
        let of = |tiers: &[&super::Tier]| tiers.iter().map(|tier| tier.name.clone()).collect::<Vec<_>>();
        assert_eq!(
            (of(&choice.chosen), of(&choice.left)),
            (vec!["near".into(), "free".into()], vec!["far".into()])
        );
        assert!(assignments(&table, &choice).contains("--no-default-features --features j/near'"));
        let none = named(&table, "far").unwrap();
        assert!(assignments(&table, &none).contains("--exclude own"));
        assert!(named(&table, "unknown").is_err());
    }
}
