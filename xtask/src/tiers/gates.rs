//! Which tier a test, a package or a compiled crate is of: read from the sources, where each stands once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{PATH, Table, Tier};
use crate::finding::Finding;
use crate::graph::Graph;
use crate::tree;

const JOURNEYS: &str = "tests/tests/it/";
const ROOT: &str = "tests/tests/it/main.rs";
const MANIFEST: &str = "tests/Cargo.toml";

/// Where a tier stands before a module or a test.
struct Gate {
    path: String,
    line: usize,
    tier: String,
}

/// The tiers of modules, tests and packages; what has none is in every run.
#[derive(Default)]
pub struct Gates {
    modules: BTreeMap<String, String>,
    tests: BTreeMap<(String, String), String>,
    packages: BTreeMap<String, String>,
    members: BTreeSet<String>,
    others: BTreeMap<String, String>,
    all: Vec<Gate>,
    /// Files without a test of their own.
    helpers: BTreeSet<String>,
    /// How many lines of journeys each tier has; those of every run are under an empty name.
    lines: BTreeMap<String, usize>,
}

impl Gates {
    pub fn read(root: &Path, graph: &Graph) -> Result<Self> {
        let table: Table = tree::read_table(root, PATH)?;
        let packages = table
            .tiers
            .iter()
            .flat_map(|tier| tier.packages.iter().map(|name| (name.clone(), tier.name.clone())));
        let mut gates = Self {
            packages: packages.collect(),
            members: graph.members().map(|package| package.name.to_string()).collect(),
            ..Self::default()
        };
        // First the root, whose conditions are of whole modules.
        gates.read_file(ROOT, &tree::read(root, ROOT)?);
        for path in tree::files(&root.join(JOURNEYS), |name| name.ends_with(".rs") && name != "main.rs")? {
            gates.read_file(&format!("{JOURNEYS}{path}"), &tree::read(root, &format!("{JOURNEYS}{path}"))?);
        }
        Ok(gates)
    }

    /// The conditions of one file: each stands before a module or a function, with other attributes between.
    fn read_file(&mut self, path: &str, text: &str) {
        let module =
            path.trim_start_matches(JOURNEYS).split(['/', '.']).next().unwrap_or_default().to_owned();
        if !text.contains("test]") && !text.contains("test(") {
            self.helpers.insert(path.to_owned());
        }
        let whole = self.modules.get(&module).cloned().unwrap_or_default();
        let mut open: Option<String> = None;
        let mut inside = whole.clone();
        for (at, line) in text.lines().enumerate() {
            *self.lines.entry(inside.clone()).or_default() += 1;
            if line == "}" {
                inside.clone_from(&whole);
            }
            let line = line.trim();
            if let Some(tier) = condition(line) {
                self.all.push(Gate { path: path.to_owned(), line: at + 1, tier: tier.to_owned() });
                open = Some(tier.to_owned());
            } else if let Some(tier) = open.clone() {
                if line.starts_with("#[") || line.starts_with("//") {
                    continue;
                }
                open = None;
                if let (true, Some(name)) = (path == ROOT, line.strip_prefix("mod ")) {
                    self.modules.insert(name.trim_end_matches(';').to_owned(), tier);
                } else if let Some(name) = function(line) {
                    inside.clone_from(&tier);
                    self.tests.insert((module.clone(), name.to_owned()), tier);
                }
            }
        }
    }

    pub fn members(&self) -> impl Iterator<Item = &String> {
        self.members.iter()
    }

    /// Whether a changed file of journeys is of this tier: a test or the module of it is there, or it has no tests and helps those of all. The root
    /// only names the others.
    pub fn has(&self, path: &str, tier: &str) -> bool {
        let Some(file) = path.strip_prefix(JOURNEYS).filter(|file| *file != "main.rs") else { return false };
        let module = file.split(['/', '.']).next().unwrap_or_default();
        self.helpers.contains(path)
            || self.modules.get(module).is_some_and(|own| own == tier)
            || self.all.iter().any(|gate| gate.path == path && gate.tier == tier)
    }

    /// A package's name, with its tier where it has one.
    pub fn package(&self, name: &str) -> String {
        tagged(name, self.packages.get(name))
    }

    /// A module of journeys.
    pub fn module(&self, name: &str) -> String {
        tagged(name, self.modules.get(name))
    }

    /// What share of the lines of journeys each tier has, behind an `@`.
    pub fn shares(&self) -> impl Iterator<Item = (String, f64)> {
        let all: usize = self.lines.values().sum();
        #[expect(clippy::cast_precision_loss, reason = "lines of one package")]
        self.lines.iter().map(move |(tier, lines)| {
            (tagged("", (!tier.is_empty()).then_some(tier)), *lines as f64 / all.max(1) as f64)
        })
    }

    /// The module of a test of journeys, with the tier of the test.
    pub fn test(&self, test: &str) -> String {
        let module = test.split("::").next().unwrap_or_default();
        let function = test.rsplit("::").next().unwrap_or_default();
        let own = self.tests.get(&(module.to_owned(), function.to_owned()));
        tagged(module, own.or_else(|| self.modules.get(module)))
    }

    /// The tier that alone compiles somebody else's crate, behind an `@`.
    pub fn of_other(&self, name: &str) -> String {
        tagged("", self.others.get(name))
    }

    /// Asks cargo which of other people's crates only a tier has.
    pub fn with_others(mut self, root: &Path) -> Result<Self> {
        let table: Table = tree::read_table(root, PATH)?;
        let selection = |chosen: Vec<_>| super::selection(&table, &chosen);
        let core = others(root, &selection(Vec::new()))?;
        for tier in table.tiers.iter().filter(|tier| has_own_crates(tier)) {
            for name in others(root, &selection(vec![tier]))?.difference(&core) {
                self.others.entry(name.clone()).or_insert_with(|| tier.name.clone());
            }
        }
        Ok(self)
    }
}

/// Tiers of tests alone compile nothing of other people's.
fn has_own_crates(tier: &Tier) -> bool {
    !tier.packages.is_empty() || tier.features.iter().any(|feature| !feature.starts_with("journeys/"))
}

fn others(root: &Path, selection: &str) -> Result<BTreeSet<String>> {
    let arguments = ["tree", "--locked", "--edges", "normal,build,dev", "--prefix", "none"];
    let output = Command::new("cargo").args(arguments).args(selection.split(' ')).current_dir(root).output();
    let output = output.context("starting cargo tree")?;
    ensure!(output.status.success(), "cargo tree {selection}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.lines().filter_map(|line| line.split(' ').next()).map(ToOwned::to_owned).collect())
}

fn tagged(name: &str, tier: Option<&String>) -> String {
    tier.map_or_else(|| name.to_owned(), |tier| format!("{name}@{tier}"))
}

fn condition(line: &str) -> Option<&str> {
    line.strip_prefix("#[cfg(feature = \"")?.strip_suffix("\")]")
}

fn function(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let plain =
        before.split(' ').all(|word| ["", "pub", "async", "pub(crate)", "pub(super)"].contains(&word));
    plain.then(|| after.split(['(', '<']).next()).flatten()
}

/// What of the tiers doesn't fit together: a condition that is no tier, a tier without a feature or package, an unknown package.
pub fn check(root: &Path, graph: &Graph) -> Result<Vec<Finding>> {
    let (table, gates): (Table, _) = (tree::read_table(root, PATH)?, Gates::read(root, graph)?);
    let manifest: toml::Table = tree::read_table(root, MANIFEST)?;
    let declared = manifest
        .get("features")
        .and_then(toml::Value::as_table)
        .context("tests/Cargo.toml has no features")?;
    let mut findings = Vec::new();
    let mut found =
        |path: &str, line, what: String, fix: &str| findings.push(Finding::new(path, line, what, fix));
    for gate in &gates.all {
        if !table.tiers.iter().any(|tier| tier.features.contains(&format!("journeys/{}", gate.tier))) {
            let fix = "name a tier of tests/tiers.toml: no run would have this test";
            found(&gate.path, gate.line, format!("`{}` is the feature of no tier", gate.tier), fix);
        }
    }
    for tier in &table.tiers {
        for name in tier.crates.iter().chain(&tier.packages).filter(|name| !gates.members.contains(*name)) {
            found(
                PATH,
                1,
                format!("the tier {} names `{name}`, which is no crate here", tier.name),
                "correct the name",
            );
        }
        let mut features = tier.features.iter().filter_map(|feature| feature.strip_prefix("journeys/"));
        if let Some(name) = features.find(|name| !declared.contains_key(*name)) {
            found(PATH, 1, format!("journeys has no feature `{name}`"), "declare it in tests/Cargo.toml");
        }
        let has_tests = gates.all.iter().any(|gate| gate.tier == tier.name) || !tier.packages.is_empty();
        if !has_tests {
            found(PATH, 1, format!("the tier {} has no tests", tier.name), "remove it, or put tests into it");
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::Gates;
    use crate::graph::Graph;
    use crate::tree;

    #[test]
    fn a_condition_is_of_the_module_or_the_test_below_it() {
        let packages = BTreeMap::from([("bench-engine".to_owned(), "engine".to_owned())]);
        let mut gates = Gates { packages, ..Gates::default() };
        gates.read_file(
            "tests/tests/it/main.rs",
            "mod keys;\n#[cfg(feature = \"engine\")]\nmod pull;\nmod tasks;\n",
        );
        let text = "#[cfg(feature = \"sdk\")]\n/// By an SDK.\n#[tokio::test]\nasync fn a_driver() {}\n#[test]\nfn plain() {}\n";
        gates.read_file("tests/tests/it/keys.rs", text);
        let of = |test: &str| gates.test(test);
        assert_eq!((of("keys::a_driver"), of("keys::plain")), ("keys@sdk".into(), "keys".into()));
        assert_eq!((of("pull::deep::a"), gates.module("tasks")), ("pull@engine".into(), "tasks".into()));
        assert_eq!(gates.package("bench-engine"), "bench-engine@engine");
        assert!(gates.has("tests/tests/it/keys.rs", "sdk") && !gates.has("tests/tests/it/keys.rs", "engine"));
        gates.read_file("tests/tests/it/ask.rs", "pub fn question() {}\n");
        assert!(gates.has("tests/tests/it/ask.rs", "sdk") && !gates.has("tests/tests/it/main.rs", "engine"));
    }

    #[test]
    fn the_tiers_of_this_tree_fit_together() {
        let graph = Graph::load(&tree::root()).unwrap();
        assert_eq!(super::check(&tree::root(), &graph).unwrap(), []);
    }
}
