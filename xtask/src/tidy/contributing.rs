//! Checks that the paths that CONTRIBUTING.md names exist.

use std::path::Path;

use crate::finding::Finding;

pub const PATH: &str = "CONTRIBUTING.md";

pub fn check(root: &Path, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, line) in text.lines().enumerate() {
        for path in quoted_paths(line) {
            if !root.join(&path).exists() {
                let what = format!("`{path}` does not exist");
                findings.push(Finding::new(PATH, at + 1, what, "name the place where it is done today"));
            }
        }
    }
    findings
}

/// The paths between backticks. Of a path with a placeholder, the directory before it, which must exist.
fn quoted_paths(line: &str) -> Vec<String> {
    let quoted = line.split('`').skip(1).step_by(2);
    let paths = quoted.filter(|text| {
        text.contains('/')
            && !text.starts_with('/')
            && !text.contains([' ', '=', ':'])
            && !text.starts_with("...")
    });
    paths.flat_map(expand).map(|path| existing_part(&path)).filter(|path| !path.is_empty()).collect()
}

/// Expands `a/{b,c}.rs` to two paths.
fn expand(path: &str) -> Vec<String> {
    let Some((before, rest)) = path.split_once('{') else { return vec![path.to_owned()] };
    let Some((choices, after)) = rest.split_once('}') else { return vec![path.to_owned()] };
    choices.split(',').flat_map(|choice| expand(&format!("{before}{choice}{after}"))).collect()
}

fn existing_part(path: &str) -> String {
    match path.find(['<', '*']) {
        Some(at) => path
            .get(..at)
            .and_then(|known| known.rsplit_once('/'))
            .map_or("", |(folder, _)| folder)
            .to_owned(),
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{check, quoted_paths};
    use crate::tree::root;

    #[test]
    fn paths_are_read_from_between_backticks() {
        assert_eq!(quoted_paths("`crates/a/src/<name>/`; a line in `registry.rs`"), ["crates/a/src"]);
        assert_eq!(quoted_paths("`a/{b,c}.rs` and `d/*.toml`"), ["a/b.rs", "a/c.rs", "d"]);
        assert!(quoted_paths("`.../postgres/`, `make x A=b/c`, `UPDATE_DOCS=1/2`, `<verb>.rs`").is_empty());
    }

    #[test]
    fn a_place_that_is_gone_is_found() {
        assert!(check(&root(), "see\n`xtask/src/tidy.rs`").is_empty());
        let found = check(&root(), "see\n`xtask/src/gone.rs`");
        assert_eq!(found.len(), 1);
        assert!(found.iter().all(|finding| finding.line == 2));
    }
}
