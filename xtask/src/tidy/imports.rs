//! Checks which workspace crate depends on which, against the table in `xtask/imports.toml`.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::DependencyKind;
use serde::Deserialize;

use crate::finding::Finding;
use crate::graph::Graph;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    import_all: BTreeSet<String>,
    common: BTreeMap<String, Common>,
    crates: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Common {
    not_for: BTreeSet<String>,
}

/// A workspace crate, the path of its manifest, and the workspace crates that it is built from.
struct Member {
    name: String,
    manifest: String,
    imports: Vec<String>,
}

pub fn check(graph: &Graph, table: &Table) -> Vec<Finding> {
    let ours: BTreeSet<&str> = graph.members().map(|package| package.name.as_str()).collect();
    let members = graph.members().map(|package| Member {
        name: package.name.to_string(),
        manifest: graph.manifest(package),
        imports: package
            .dependencies
            .iter()
            .filter(|dependency| dependency.kind != DependencyKind::Development)
            .filter(|dependency| ours.contains(dependency.name.as_str()))
            .map(|dependency| dependency.name.clone())
            .collect(),
    });
    members.flat_map(|member| check_member(&member, table)).collect()
}

fn check_member(member: &Member, table: &Table) -> Vec<Finding> {
    if table.import_all.contains(&member.name) {
        return Vec::new();
    }
    let Some(allowed) = table.crates.get(&member.name) else {
        let what = format!("crate `{}` has no row in the import table", member.name);
        let fix = "add it to xtask/imports.toml and to the table in docs/architecture.md";
        return vec![Finding::new(&member.manifest, 1, what, fix)];
    };
    let refused = member
        .imports
        .iter()
        .filter(|import| !allowed.contains(*import) && !is_common(member, import, table));
    refused
        .map(|import| {
            let what = format!("`{}` may not import `{import}`", member.name);
            let fix = "move the code, pass the value in, or use a trait in `domain::ports`; the table is xtask/imports.toml";
            Finding::new(&member.manifest, 1, what, fix)
        })
        .collect()
}

fn is_common(member: &Member, import: &str, table: &Table) -> bool {
    table.common.get(import).is_some_and(|common| !common.not_for.contains(&member.name))
}

#[cfg(test)]
mod tests {
    use super::{Member, Table, check_member};

    fn findings(name: &str, imports: &[&str]) -> Vec<String> {
        let table: Table = toml::from_str(
            "import_all = ['harness']\n[common]\ndomain = { not_for = ['world'] }\n[crates]\nworld = []\nplan = ['board']\n",
        )
        .unwrap();
        let imports = imports.iter().map(|import| (*import).to_owned()).collect();
        let member = Member { name: name.to_owned(), manifest: "m".to_owned(), imports };
        check_member(&member, &table).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn listed_and_common_imports_pass() {
        assert!(findings("plan", &["board", "domain"]).is_empty());
        assert!(findings("harness", &["anything"]).is_empty());
    }

    #[test]
    fn other_imports_fail() {
        assert_eq!(findings("plan", &["vault"]), ["`plan` may not import `vault`"]);
        assert_eq!(findings("world", &["domain"]), ["`world` may not import `domain`"]);
        assert_eq!(findings("new", &[]), ["crate `new` has no row in the import table"]);
    }
}
