//! `cargo xtask proofs`: rejects kept proofs that prove nothing, of a run with a failure or of a commit that this history doesn't
//! have, and names those that are older than what they prove.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::change::git;
use crate::finding::Finding;
use crate::tree;

const ROWS: &str = "xtask/proofs.toml";
const PROOFS: &str = "docs/proofs";
const MIGRATIONS: &str = "crates/store/migrations/sqlite";
/// Prints the lines of a run that say that a test failed; `scripts/prove.sh` asks it, too, before it keeps anything.
const FAILURES: &str = "scripts/failures.sh";
/// The page that says of each missed bound that it is missed.
const FIGURES: &str = "docs/benchmarks.md";
/// So many newer migrations make every proof old.
const NEWER_MIGRATIONS_MAX: u32 = 10;

/// A kept proof, by the name of its file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    verb: String,
    /// What `scripts/prove.sh` writes into the first line.
    promise: String,
    /// The paths whose change makes the proof old.
    paths: Vec<String>,
    /// Its folder, if that isn't `docs/proofs`.
    at: Option<String>,
    /// A machine that not everybody has: the proof may be missing.
    needs: Option<String>,
}

impl Row {
    fn folder(&self) -> &str {
        self.at.as_deref().unwrap_or(PROOFS)
    }
}

type Rows = BTreeMap<String, Row>;

/// What is wrong with the proofs; what is old is among it only if all of them must be current.
#[derive(Default)]
struct Found {
    wrong: Vec<Finding>,
    old: Vec<Finding>,
    current: usize,
}

/// As a change is tested: old proofs are listed.
pub fn check(root: &Path) -> Result<(Vec<Finding>, String)> {
    check_as(root, false)
}

/// Old and missing proofs are findings only where all `must_be_current`, as before an issue is resolved.
pub fn check_as(root: &Path, must_be_current: bool) -> Result<(Vec<Finding>, String)> {
    let rows: Rows = tree::read_table(root, ROWS)?;
    let unknown = unknown_history(root);
    let mut found = Found::default();
    for (name, row) in &rows {
        for path in row.paths.iter().filter(|path| !root.join(path).exists()) {
            let what = format!("`{path}`, a path of {name}, is not there");
            found.wrong.push(Finding::new(ROWS, 1, what, "name the path to which it has moved"));
        }
        let is_there = root.join(row.folder()).join(name).exists();
        if is_there && row.at.is_some() {
            look_at(root, name, Some(row), unknown.is_none(), &mut found)?;
        } else if row.needs.is_none() && !is_there {
            let what = format!("{name}: not proven, or no longer: {}", row.promise);
            found.old.push(Finding::new(ROWS, 1, what, format!("`{}` makes it", row.verb)));
        }
    }
    // Pictures belong to the file beside them.
    for name in names(root, PROOFS)?.into_iter().filter(|name| !name.ends_with(".svg")) {
        look_at(root, &name, rows.get(&name), unknown.is_none(), &mut found)?;
    }
    let mut summary = format!("proofs: {} are current", found.current);
    if let Some(why) = unknown {
        summary = format!("{summary}; whether the others are was not looked up: {why}");
    }
    if must_be_current {
        found.wrong.append(&mut found.old);
    } else if !found.old.is_empty() {
        let lines: Vec<String> =
            found.old.iter().map(|old| format!("\n  {} ({})", old.what, old.fix)).collect();
        summary = format!("{summary}; old, to be made again before an issue is resolved:{}", lines.concat());
    }
    Ok((found.wrong, summary))
}

fn look_at(root: &Path, name: &str, row: Option<&Row>, has_history: bool, found: &mut Found) -> Result<()> {
    let path = format!("{}/{name}", row.map_or(PROOFS, Row::folder));
    let text = tree::read(root, &path)?;
    let Some(row) = row else {
        let fix = format!("give it one in {ROWS}, or delete it");
        found.wrong.push(Finding::new(&path, 1, "it has no row", fix));
        return Ok(());
    };
    let fix = format!("delete it, and make it again: `{}`", row.verb);
    let mut wrong = Vec::new();
    if name.starts_with("prove-") {
        wrong.extend(failure(root, &path)?);
    }
    if is_missed(&text) && !says_missed(&tree::read(root, FIGURES)?, name) {
        wrong.push((1, format!("its bound is missed, and {FIGURES} doesn't say so")));
    }
    let commit = commit(&text);
    match commit {
        None => wrong.push((1, "it names no commit".to_owned())),
        Some((commit, true)) => wrong.push((1, format!("it is of changed sources, {commit}-dirty"))),
        Some((commit, false)) if has_history && !is_ancestor(root, commit)? => {
            wrong.push((1, format!("its commit, {commit}, is not in this history")));
        }
        Some(_) => {}
    }
    if wrong.is_empty()
        && let (true, Some((commit, _))) = (has_history, commit)
    {
        match age(root, commit, row)? {
            None => found.current += 1,
            Some(why) => {
                let again = format!("`{}` makes it again", row.verb);
                found.old.push(Finding::new(&path, 1, format!("{name}: {why}"), again));
            }
        }
    }
    found.wrong.extend(wrong.into_iter().map(|(line, what)| Finding::new(&path, line, what, &fix)));
    Ok(())
}

/// Why the commits of proofs can't be looked up here, if they can't.
fn unknown_history(root: &Path) -> Option<String> {
    match git(root, &["rev-parse", "--is-shallow-repository"]) {
        Ok(answer) if answer == "false" => None,
        Ok(_) => Some("this clone has a part of the history alone (`git fetch --unshallow`)".to_owned()),
        Err(error) => Some(format!("{error:#}")),
    }
}

/// The first line that says that a test failed.
fn failure(root: &Path, path: &str) -> Result<Option<(usize, String)>> {
    let output = Command::new("sh").arg(FAILURES).arg(path).current_dir(root).output().context(FAILURES)?;
    if !output.stderr.is_empty() {
        bail!("{FAILURES}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let Some((number, line)) = lines.lines().next().and_then(|line| line.split_once(':')) else {
        return Ok(None);
    };
    let what = format!("it is of a run with a failure: {}", line.trim());
    Ok(Some((number.parse().unwrap_or(1), what)))
}

/// Why a proof of this commit is older than what it proves, if it is.
fn age(root: &Path, commit: &str, row: &Row) -> Result<Option<String>> {
    let listed = git(root, &["ls-tree", "--name-only", commit, &format!("{MIGRATIONS}/")])?;
    let then = number(listed.lines().next_back().unwrap_or_default());
    let now = number(names(root, MIGRATIONS)?.last().context("there are no migrations")?);
    if now > then + NEWER_MIGRATIONS_MAX {
        return Ok(Some(format!("of schema {then:04}, and {} migrations are newer", now - then)));
    }
    let range = format!("{commit}..HEAD");
    let mut arguments = vec!["log", "-1", "--format=%h of %cs", &range, "--"];
    arguments.extend(row.paths.iter().map(String::as_str));
    let last = git(root, &arguments)?;
    Ok((!last.is_empty()).then(|| format!("of {commit}, and what it proves changed with {last}")))
}

fn is_ancestor(root: &Path, commit: &str) -> Result<bool> {
    let arguments = ["merge-base", "--is-ancestor", commit, "HEAD"];
    // 1 says no, and 128 that the object isn't known.
    let output = Command::new("git").args(arguments).current_dir(root).output().context("starting git")?;
    Ok(output.status.success())
}

fn names(root: &Path, folder: &str) -> Result<Vec<String>> {
    let entries = fs::read_dir(root.join(folder)).with_context(|| folder.to_owned())?;
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

/// The number of a migration, by its path.
fn number(path: &str) -> u32 {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.split('_').next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// The commit that a proof names, in whichever form, and whether its sources had been changed.
fn commit(text: &str) -> Option<(&str, bool)> {
    // A history has it in each row, and the newest row is the last.
    if let Some(cell) = text.lines().next_back().and_then(|row| row.split('\t').nth(1)) {
        return Some((cell.strip_suffix("-dirty").unwrap_or(cell), cell.ends_with("-dirty")));
    }
    text.match_indices("commit").find_map(|(at, word)| {
        let rest = text.get(at + word.len()..)?.trim_start_matches([':', '"', ' ']);
        let end = rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len());
        let (commit, after) = rest.split_at_checked(end)?;
        (7..=40).contains(&end).then(|| (commit, after.starts_with("-dirty")))
    })
}

fn is_missed(text: &str) -> bool {
    text.starts_with("bound:    MISSED")
}

/// Whether a line of the page of figures names this proof and says that it is missed.
fn says_missed(page: &str, name: &str) -> bool {
    page.lines().any(|line| line.contains(name) && line.contains("missed"))
}

#[cfg(test)]
mod tests;
