//! `cargo xtask proofs`: reports stored proofs that are older than the newest migration, and rejects those
//! whose run did not pass.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::finding::Finding;

const PROOFS: &str = "docs/proofs";
const MIGRATIONS: &str = "crates/store/migrations/sqlite";

pub fn check(root: &Path) -> Result<(Vec<Finding>, String)> {
    let newest = names(root, MIGRATIONS)?.into_iter().next_back().context("there are no migrations")?;
    let newest = newest.split('_').next().unwrap_or_default().to_owned();
    let (mut findings, mut older, mut current) = (Vec::new(), Vec::new(), 0);
    for name in names(root, PROOFS)?.into_iter().filter(|name| name.starts_with("prove-")) {
        let path = format!("{PROOFS}/{name}");
        let text = fs::read_to_string(root.join(&path)).with_context(|| path.clone())?;
        if !has_passed(&text) {
            let fix = "bring back the proof that passed: `make prove-*` keeps no other";
            findings.push(Finding::new(&path, 1, "it is of a run that did not pass", fix));
        }
        match schema(&text) {
            Some(schema) if schema == newest => current += 1,
            schema => older.push(format!("{name} ({})", schema.unwrap_or("not noted"))),
        }
    }
    let mut summary = format!("proofs: {current} are of the newest schema, {newest}");
    if !older.is_empty() {
        summary =
            format!("{summary}; of an older one, to be made again by their verbs: {}", older.join(", "));
    }
    Ok((findings, summary))
}

fn names(root: &Path, folder: &str) -> Result<Vec<String>> {
    let entries = fs::read_dir(root.join(folder)).with_context(|| folder.to_owned())?;
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

fn schema(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("schema:")).map(str::trim)
}

fn has_passed(text: &str) -> bool {
    text.lines().next_back().is_some_and(|line| line.starts_with("passed after"))
}

#[cfg(test)]
mod tests {
    use super::{has_passed, schema};

    #[test]
    fn a_proof_says_its_schema_and_its_end() {
        let proof = "what:     x\ncommit:   abc\nschema:   0021\n\nsome output\n\npassed after 9 s\n";
        assert_eq!((schema(proof), has_passed(proof)), (Some("0021"), true));
        assert_eq!((schema("what: x\n"), has_passed("what: x\n\nFAILED after 9 s\n")), (None, false));
    }
}
