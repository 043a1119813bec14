//! `cargo xtask tidy`: repository rules that can be checked by reading the source tree.

mod bounds;
mod circles;
mod contributing;
mod fault_codes;
mod formats;
mod glossary;
mod guarantees;
mod habits;
mod imports;
mod layout;
mod manifests;
mod modules;
mod names;
mod parsers;
mod prose;
mod shape;
mod sizes;
mod spawns;
mod words;

use std::path::Path;

use anyhow::Result;

use crate::finding::Finding;
use crate::graph::Graph;
use crate::source::{self, SourceFile};
use crate::tiers::gates;
use crate::tree;

/// All violations, sorted by location, and a sentence on what was checked.
pub fn check(root: &Path) -> Result<(Vec<Finding>, String)> {
    let sources = sources(root)?;
    let graph = Graph::load(root)?;
    let mut findings = imports::check(&graph, &tree::read_table(root, "xtask/imports.toml")?);
    let names = tree::read_table(root, "xtask/names.toml")?;
    let words: words::Table = tree::read_table(root, words::PATH)?;
    let habits: habits::Table = tree::read_table(root, "xtask/habits.toml")?;
    let spawns: spawns::Table = tree::read_table(root, "xtask/spawns.toml")?;
    for source in &sources {
        findings.extend(names::check(source, &names));
        findings.extend(shape::check(source));
        findings.extend(habits::check(source, &habits));
        findings.extend(spawns::check(source, &spawns));
    }
    findings.extend(manifests::check(&graph, &sources, &tree::read_table(root, "xtask/manifests.toml")?));
    let crates: sizes::Table = tree::read_table(root, sizes::PATH)?;
    findings.extend(sizes::check(&sources, &crates));
    findings.extend(circles::check(&sources, &crates));
    findings.extend(bounds::check(&sources, &crates));
    findings.extend(words::check(&sources, &words));
    let plain: glossary::Table = tree::read_table(root, glossary::PATH)?;
    findings.extend(glossary::check(&tree::read(root, glossary::GLOSSARY)?, &plain, &sources));
    findings.extend(fault_codes::check(&sources));
    findings.extend(parsers::check(&sources, &tree::read_table(root, parsers::PATH)?));
    findings.extend(formats::check(&sources, &tree::read_table(root, formats::PATH)?));
    findings.extend(contributing::check(root, &tree::read(root, contributing::PATH)?));
    findings.extend(guarantees::check(root, &tree::read(root, guarantees::PATH)?));
    findings.extend(prose::check(root, &tree::read_table(root, prose::PATH)?)?);
    findings.extend(scripts(root, &habits)?);
    findings.extend(layout::check(root, &graph)?);
    findings.extend(gates::check(root, &graph)?);
    findings.sort();
    findings.dedup();
    let summary = format!("tidy: {} files, {} crates", sources.len(), graph.members().count());
    Ok((findings, summary))
}

fn sources(root: &Path) -> Result<Vec<SourceFile>> {
    let mut sources = Vec::new();
    for path in tree::files(root, |name| name.ends_with(".rs"))? {
        let raw = tree::read(root, &path)?;
        sources.push(SourceFile::new(&path, &raw));
    }
    source::mark_test_modules(&mut sources);
    Ok(sources)
}

fn scripts(root: &Path, habits: &habits::Table) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for path in tree::files(root, |name| name.ends_with(".sh") || name.ends_with(".sql"))? {
        findings.extend(habits::unfinished(&path, &tree::read(root, &path)?, habits));
    }
    Ok(findings)
}
