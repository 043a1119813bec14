//! `cargo xtask check`: the checks of a change that take less than a minute and need no database, browser or
//! SDK.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::graph::Graph;
use crate::{finding, tidy, tiers};

/// Directories outside of a crate that its build or tests read.
const ELSEWHERE: [(&str, &str); 4] = [
    ("catalogue/", "catalogue"),
    ("golden/dialects/", "dialects"),
    ("golden/providers/", "providers"),
    ("docs/openapi.json", "control"),
];

/// Tests that are left to `make test`: they need the built binary, PostgreSQL, a browser or an SDK.
const LEFT_OUT: &str = "not (package(journeys) | package(harness) | test(/postgres/))";

/// Checks the files that differ from a commit, or the uncommitted ones if none is given.
///
/// # Errors
/// The first check that fails, or one that could not be run.
pub fn check(root: &Path, since: Option<&str>) -> Result<()> {
    let started = Instant::now();
    let changed = changed_files(root, since.unwrap_or("HEAD"))?;
    let crates = crates(&Graph::load(root)?, &changed);
    println!("{} files differ, of the crates: {}", changed.len(), list(&crates));
    cargo(root, "format", &["fmt", "--all", "--check"])?;
    step("tidy", || {
        let (findings, summary) = tidy::check(root)?;
        if finding::print(&findings, &summary) { Ok(()) } else { bail!("see the findings above") }
    })?;
    if !crates.is_empty() {
        let packages: Vec<&str> = crates.iter().flat_map(|name| ["-p", name.as_str()]).collect();
        // Each journey stands behind a tier's feature.
        let tiers =
            if crates.contains("journeys") { tiers::features_of_journeys(root)? } else { String::new() };
        let clippy = ["clippy", "--locked", "--all-targets", "--features", &tiers];
        cargo(root, "clippy", &[&clippy[..], &packages, &["--", "-D", "warnings"]].concat())?;
        let tests = ["nextest", "run", "--locked", "--no-tests", "pass", "-E", LEFT_OUT];
        cargo(root, "tests", &[&tests[..], &packages].concat())?;
    }
    println!("checked in {} s; `make test` runs the rest", started.elapsed().as_secs());
    Ok(())
}

/// The files that differ from a commit, new ones included.
pub fn changed_files(root: &Path, since: &str) -> Result<BTreeSet<String>> {
    let known = git(root, &["diff", "--name-only", since, "--"])?;
    let new = git(root, &["ls-files", "--others", "--exclude-standard"])?;
    Ok(known.lines().chain(new.lines()).map(ToOwned::to_owned).collect())
}

/// The workspace members that these files belong to, or whose build or tests read them.
fn crates(graph: &Graph, changed: &BTreeSet<String>) -> BTreeSet<String> {
    let owner = |path: &String| {
        let elsewhere = || ELSEWHERE.iter().find(|(prefix, _)| path.starts_with(prefix));
        let package = graph.owner(path).map(|package| package.name.to_string());
        package.or_else(|| elsewhere().map(|(_, name)| (*name).to_owned()))
    };
    changed.iter().filter_map(owner).collect()
}

fn list(names: &BTreeSet<String>) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
    }
}

/// Git's output for these arguments, without space around it.
pub fn git(root: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new("git").args(arguments).current_dir(root).output().context("starting git")?;
    if !output.status.success() {
        bail!("git {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn cargo(root: &Path, title: &str, arguments: &[&str]) -> Result<()> {
    step(title, || {
        let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let line = format!("cargo {}", arguments.join(" "));
        let status = Command::new(program).args(arguments).current_dir(root).status();
        if status.with_context(|| format!("starting {line}"))?.success() { Ok(()) } else { bail!(line) }
    })
}

fn step(title: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let started = Instant::now();
    work().with_context(|| format!("{title} failed"))?;
    println!("==> {title}: {:.1} s", started.elapsed().as_secs_f32());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::crates;
    use crate::graph::Graph;
    use crate::tree;

    #[test]
    fn a_file_belongs_to_the_innermost_crate() {
        let graph = Graph::load(&tree::root()).unwrap();
        let of = |path: &str| crates(&graph, &[path.to_owned()].into()).into_iter().next();
        assert_eq!(of("crates/plan/src/lib.rs").as_deref(), Some("plan"));
        assert_eq!(of("bench/engine/src/main.rs").as_deref(), Some("bench-engine"));
        assert_eq!(of("bench/src/main.rs").as_deref(), Some("bench"));
        assert_eq!(of("catalogue/models.toml").as_deref(), Some("catalogue"));
        assert_eq!(of("README.md"), None);
    }
}
