//! `cargo xtask features`: checks that shared packages have the same features with and without the engine, so
//! that both builds can reuse them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::finding::Finding;

/// The one package whose features may differ between the two builds.
const PRODUCT: &str = "tidegate";

/// Each package's features, by name and version.
type Features = BTreeMap<String, BTreeSet<String>>;

pub fn check(root: &Path) -> Result<(Vec<Finding>, String)> {
    let (without, with) = (tree(root, &["--no-default-features"])?, tree(root, &[])?);
    let summary = format!("features: {} packages without the engine, {} with it", without.len(), with.len());
    Ok((compare(&without, &with), summary))
}

/// The features that cargo resolves for the product alone, as `make run` builds it.
fn tree(root: &Path, options: &[&str]) -> Result<Features> {
    let arguments =
        ["tree", "--locked", "-p", PRODUCT, "-e", "normal,build", "--prefix", "none", "-f", "{p}|{f}"];
    let output = Command::new("cargo").args(arguments).args(options).current_dir(root).output();
    let output = output.context("could not run cargo tree")?;
    ensure!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    Ok(read(&String::from_utf8_lossy(&output.stdout)))
}

fn read(text: &str) -> Features {
    let mut features = Features::new();
    for (package, list) in text.lines().filter_map(|line| line.split_once('|')) {
        // Lines like `name v1.0.0 (proc-macro)` or `name v1.0.0 (/path)`; a repeated list ends with an
        // asterisk.
        let name = package.split(" (").next().unwrap_or(package).to_owned();
        let list = list.trim_end_matches(" (*)").split(',').filter(|feature| !feature.is_empty());
        features.entry(name).or_default().extend(list.map(str::to_owned));
    }
    features
}

fn compare(without: &Features, with: &Features) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (package, own) in without {
        let Some(all) = with.get(package).filter(|all| *all != own) else { continue };
        if package.split(' ').next() == Some(PRODUCT) {
            continue;
        }
        let more: Vec<&str> = all.difference(own).map(String::as_str).collect();
        let what = format!(
            "the engine turns on {} of {package}, so that `make run` compiles it twice",
            more.join(", ")
        );
        let fix = "list the package with these features in crates/tidegate/Cargo.toml, beside the others of its kind";
        findings.push(Finding::new("crates/tidegate/Cargo.toml", 1, what, fix));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::{compare, read};

    #[test]
    fn a_feature_of_the_engine_alone_is_found() {
        let without = read("tidegate v0.1.0 (/x)|\neither v1.0.0|std\nserde v1.0.0|std\n");
        let with = read(
            "tidegate v0.1.0 (/x)|engine\neither v1.0.0|std,use_std\nserde v1.0.0|std (*)\ncandle v1.0.0|\n",
        );
        let findings = compare(&without, &with);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].to_string().contains("use_std of either v1.0.0"), "{}", findings[0]);
        assert!(compare(&with, &with).is_empty());
    }
}
