//! `cargo xtask check`: the checks of a change that take less than a minute and need no database, browser or
//! SDK.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::graph::Graph;
use crate::{finding, tidy};

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
    let changed = changed(root, since.unwrap_or("HEAD"))?;
    let crates = crates(&Graph::load(root)?, &changed);
    println!("{} files differ, of the crates: {}", changed.len(), list(&crates));
    cargo(root, "format", &["fmt", "--all", "--check"], &[])?;
    step("tidy", || {
        let (findings, summary) = tidy::check(root)?;
        findings.iter().for_each(|finding: &finding::Finding| println!("{finding}"));
        if findings.is_empty() { Ok(()) } else { bail!("{} finding(s); {summary}", findings.len()) }
    })?;
    if !crates.is_empty() {
        let packages: Vec<&str> = crates.iter().flat_map(|name| ["-p", name.as_str()]).collect();
        let clippy = [&["clippy", "--locked", "--all-targets"], packages.as_slice()].concat();
        cargo(root, "clippy", &clippy, &["--", "-D", "warnings"])?;
        let tests =
            [&["nextest", "run", "--locked", "--no-tests", "pass", "-E", LEFT_OUT], packages.as_slice()]
                .concat();
        cargo(root, "tests", &tests, &[])?;
    }
    println!("checked in {} s; `make test` runs the rest", started.elapsed().as_secs());
    Ok(())
}

fn changed(root: &Path, since: &str) -> Result<BTreeSet<String>> {
    let known = git(root, &["diff", "--name-only", since, "--"])?;
    let new = git(root, &["ls-files", "--others", "--exclude-standard"])?;
    Ok(known.lines().chain(new.lines()).map(ToOwned::to_owned).collect())
}

/// The workspace members that these files belong to.
fn crates(graph: &Graph, changed: &BTreeSet<String>) -> BTreeSet<String> {
    let members: Vec<(String, String)> = graph
        .members()
        .map(|package| (graph.manifest(package).replace("Cargo.toml", ""), package.name.to_string()))
        .collect();
    changed.iter().filter_map(|path| owner(&members, path)).collect()
}

fn owner(members: &[(String, String)], path: &str) -> Option<String> {
    let holds = members.iter().filter(|(folder, _)| path.starts_with(folder));
    let nearest = holds.max_by_key(|(folder, _)| folder.len()).map(|(_, name)| name.clone());
    let elsewhere = ELSEWHERE.iter().find(|(folder, _)| path.starts_with(folder));
    nearest.or_else(|| elsewhere.map(|(_, name)| (*name).to_owned()))
}

fn list(names: &BTreeSet<String>) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
    }
}

fn git(root: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new("git").args(arguments).current_dir(root).output().context("starting git")?;
    if !output.status.success() {
        bail!("git {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn cargo(root: &Path, title: &str, arguments: &[&str], last: &[&str]) -> Result<()> {
    step(title, || {
        let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(program).args(arguments).args(last).current_dir(root).status();
        if status.with_context(|| format!("starting cargo {}", arguments.join(" ")))?.success() {
            return Ok(());
        }
        bail!("cargo {} {}", arguments.join(" "), last.join(" "))
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
    use super::owner;

    #[test]
    fn a_file_is_of_the_nearest_crate() {
        let members = [("crates/plan/", "plan"), ("bench/", "bench"), ("bench/engine/", "bench-engine")];
        let members = members.map(|(folder, name)| (folder.to_owned(), name.to_owned()));
        let owner = |path: &str| owner(&members, path);
        assert_eq!(owner("crates/plan/src/lib.rs").as_deref(), Some("plan"));
        assert_eq!(owner("bench/engine/src/main.rs").as_deref(), Some("bench-engine"));
        assert_eq!(owner("bench/src/main.rs").as_deref(), Some("bench"));
        assert_eq!(owner("catalogue/models.toml").as_deref(), Some("catalogue"));
        assert_eq!(owner("README.md"), None);
    }
}
