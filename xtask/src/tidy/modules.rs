//! The modules of a crate, and which of its files names an item of which other.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{SourceFile, line_of, words};

type Path = Vec<String>;

/// Re-exports that are followed from one file to the next.
const HOPS_MAX: usize = 8;

/// A crate's modules that have a file of their own.
pub struct Modules<'a> {
    files: BTreeMap<Path, Module<'a>>,
}

struct Module<'a> {
    source: &'a SourceFile,
    uses: Vec<Use>,
}

/// One name that a `use` brings into a file.
struct Use {
    name: String,
    path: Path,
}

impl<'a> Modules<'a> {
    pub fn new(name: &str, sources: &[&'a SourceFile]) -> Self {
        let folder = format!("crates/{name}/src/");
        let mut files = BTreeMap::new();
        for source in sources {
            let within = source.path.strip_prefix(&folder).unwrap_or(&source.path);
            let is_product = !within.starts_with("bin/") && !source.is_test_line(1);
            if is_product {
                let module = Module { source, uses: Vec::new() };
                files.entry(module_path(within)).or_insert(module);
            }
        }
        let mut modules = Self { files };
        let paths: Vec<Path> = modules.files.keys().cloned().collect();
        for path in paths {
            let uses = modules.uses(&path);
            if let Some(module) = modules.files.get_mut(&path) {
                module.uses = uses;
            }
        }
        modules
    }

    /// For each file, the files whose items it names in product code. A re-export is no import: whoever names
    /// its item imports the file that has it.
    pub fn imports(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (path, module) in &self.files {
            let named = self.named(path).into_iter().filter(|named| !named.is_reexport);
            let files = named.filter_map(|named| self.file_of(&named.path, HOPS_MAX));
            let others = files.filter(|file| *file != module.source.path).map(str::to_owned);
            imports.insert(module.source.path.clone(), others.collect());
        }
        imports
    }

    fn uses(&self, of: &Path) -> Vec<Use> {
        let named = self.named(of).into_iter().filter(|named| named.is_use);
        named
            .filter_map(|Named { path, alias, .. }| Some(Use { name: alias.or(path.last().cloned())?, path }))
            .collect()
    }

    /// The paths within the crate that a file names in product code.
    fn named(&self, of: &Path) -> Vec<Named> {
        let Some(module) = self.files.get(of) else { return Vec::new() };
        let code = &module.source.code;
        let mut found = Vec::new();
        let children = self.files.keys().filter(|path| path.len() == of.len() + 1 && path.starts_with(of));
        let children = children.filter_map(|path| path.last().map(String::as_str));
        for first in ["crate", "self", "super"].into_iter().chain(children) {
            for at in words(code, first) {
                let before = code.get(..at).unwrap_or_default().trim_end();
                let after = code.get(at + first.len()..).unwrap_or_default();
                let is_inner = before.ends_with("::") || before.ends_with('.');
                if is_inner || !after.starts_with("::") || module.source.is_test_line(line_of(code, at)) {
                    continue;
                }
                let base = match first {
                    "crate" => Vec::new(),
                    "self" => of.clone(),
                    "super" => of.get(..of.len().saturating_sub(1)).unwrap_or_default().to_vec(),
                    child => [of.as_slice(), &[child.to_owned()]].concat(),
                };
                let (is_use, is_reexport) = statement(before);
                tree(after, &base, &mut |path, alias| {
                    found.push(Named { path, alias, is_use, is_reexport });
                });
            }
        }
        found
    }

    /// The file that has the item of that path.
    fn file_of(&self, path: &[String], hops: usize) -> Option<&str> {
        let length = (0..=path.len())
            .rev()
            .find(|length| path.get(..*length).is_some_and(|module| self.files.contains_key(module)))?;
        let module = self.files.get(path.get(..length)?)?;
        let (item, hops) = (path.get(length), hops.checked_sub(1));
        let used = item.and_then(|item| module.uses.iter().find(|used| used.name == *item));
        match (used, hops) {
            (Some(used), Some(hops)) => {
                let rest = path.get(length + 1..).unwrap_or_default();
                self.file_of(&[used.path.as_slice(), rest].concat(), hops)
            }
            _ => Some(&module.source.path),
        }
    }
}

struct Named {
    path: Path,
    /// `B` of `use a as B`.
    alias: Option<String>,
    is_use: bool,
    is_reexport: bool,
}

/// Whether the path that follows stands in a `use`, and whether that is a public one.
fn statement(before: &str) -> (bool, bool) {
    let start = before.rfind([';', '}', ']']).map_or(0, |at| at + 1);
    let head = before.get(start..).unwrap_or_default().trim();
    let is_use = head == "use" || head.ends_with(" use");
    (is_use, is_use && head.starts_with("pub"))
}

fn module_path(within: &str) -> Path {
    let stem = within.trim_end_matches(".rs");
    let stem = stem.strip_suffix("/mod").unwrap_or(stem);
    if matches!(stem, "lib" | "main" | "mod") {
        return Vec::new();
    }
    stem.split('/').map(str::to_owned).collect()
}

/// Calls `found` with each path of the tree `::a::{b, c as d}`, after `base`; returns what follows the tree.
fn tree<'a>(text: &'a str, base: &Path, found: &mut dyn FnMut(Path, Option<String>)) -> &'a str {
    let Some(rest) = text.trim_start().strip_prefix("::").map(str::trim_start) else {
        let (alias, rest) = alias(text);
        found(base.clone(), alias);
        return rest;
    };
    match rest.strip_prefix('{') {
        Some(branches) => group(branches, base, found),
        None => segment(rest, base, found),
    }
}

fn group<'a>(mut rest: &'a str, base: &Path, found: &mut dyn FnMut(Path, Option<String>)) -> &'a str {
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix('}') {
            return after;
        }
        let after = segment(rest, base, found).trim_start();
        let after = after.strip_prefix(',').unwrap_or(after);
        if after.len() >= rest.len() {
            return after;
        }
        rest = after;
    }
}

fn segment<'a>(text: &'a str, base: &Path, found: &mut dyn FnMut(Path, Option<String>)) -> &'a str {
    let length = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(length);
    let path = match name {
        "self" => base.clone(),
        "super" => base.get(..base.len().saturating_sub(1)).unwrap_or_default().to_vec(),
        // A glob, or a turbofish.
        "" => {
            found(base.clone(), None);
            return rest.get(1..).unwrap_or_default();
        }
        name => [base.as_slice(), &[name.to_owned()]].concat(),
    };
    tree(rest, &path, found)
}

fn alias(text: &str) -> (Option<String>, &str) {
    let Some(rest) = text.trim_start().strip_prefix("as ") else { return (None, text) };
    let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    let (name, rest) = rest.split_at(length);
    (Some(name.to_owned()), rest)
}

#[cfg(test)]
mod tests {
    use super::Modules;
    use crate::source::SourceFile;

    fn imports_of(file: &str, files: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<SourceFile> =
            files.iter().map(|(path, raw)| SourceFile::new(&format!("crates/a/src/{path}"), raw)).collect();
        let imports = Modules::new("a", &sources.iter().collect::<Vec<_>>()).imports();
        let found = imports.get(&format!("crates/a/src/{file}")).into_iter().flatten();
        found.map(|path| path.trim_start_matches("crates/a/src/").to_owned()).collect()
    }

    #[test]
    fn each_form_of_a_path_names_its_file() {
        let cases = [
            ("use crate::b::B;", vec!["b.rs"]),
            ("use crate::{b::{self, B}, d::e::f};", vec!["b.rs", "d/e.rs"]),
            ("use super::b;", vec!["b.rs"]),
            ("fn f() { crate::b::g::<u8>() }", vec!["b.rs"]),
            ("fn f() { child::g() }", vec!["c/child.rs"]),
            ("use self::child::g;", vec!["c/child.rs"]),
            ("use crate::top;", vec!["lib.rs"]),
            ("use crate::passed_on;", vec!["b.rs"]),
            ("use crate::renamed::f;", vec!["d/e.rs"]),
            ("use crate::*;", vec!["lib.rs"]),
            ("pub use child::g;\npub(crate) use crate::b::B;", vec![]),
            ("#[cfg(test)]\nmod tests {\n    use crate::b::B;\n}", vec![]),
            ("// crate::b::B\nuse other::crate_b;", vec![]),
        ];
        for (raw, expected) in cases {
            let files = [
                ("lib.rs", "mod b;\npub use b::passed_on;\npub use d::e as renamed;\npub fn top() {}\n"),
                ("b.rs", ""),
                ("c.rs", raw),
                ("c/child.rs", ""),
                ("d/mod.rs", ""),
                ("d/e.rs", ""),
            ];
            assert_eq!(imports_of("c.rs", &files), expected, "{raw}");
        }
    }
}
