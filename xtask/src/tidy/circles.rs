//! Finds files of a crate that import each other in a circle, against `xtask/crates.toml`.

use std::collections::{BTreeMap, BTreeSet};

use crate::finding::Finding;
use crate::source::SourceFile;

use super::modules::Modules;
use super::sizes::{PATH, Table};

/// A circle of so many files is read as one; more of them can't be understood, tested or moved apart.
const FILES_MAX: usize = 3;

pub fn check(sources: &[SourceFile], table: &Table) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut crates: BTreeMap<&str, Vec<&SourceFile>> = BTreeMap::new();
    for source in sources {
        if let Some((name, _)) = table.crate_of(source) {
            crates.entry(name).or_default().push(source);
        }
    }
    for name in table.circles.keys().filter(|name| !crates.contains_key(name.as_str())) {
        findings.push(Finding::new(PATH, 1, format!("there is no crate `{name}`"), "delete its row"));
    }
    for (name, files) in crates {
        let circles = circles(&Modules::new(name, &files).imports());
        findings.extend(compare(name, &circles, table.circles.get(name).map_or(&[], Vec::as_slice)));
    }
    findings
}

fn compare(name: &str, circles: &[Vec<String>], left: &[usize]) -> Vec<Finding> {
    let sizes: Vec<usize> = circles.iter().map(Vec::len).collect();
    if sizes == left {
        return Vec::new();
    }
    let grew = sizes.iter().zip(left.iter().chain(std::iter::repeat(&0))).position(|(now, then)| now > then);
    let Some(files) = grew.and_then(|at| circles.get(at)) else {
        let what = format!("the circles of `{name}` have {sizes:?} files now, not {left:?}");
        let fix = if sizes.is_empty() {
            "delete the row".to_owned()
        } else {
            format!("write `{name} = {sizes:?}` there")
        };
        return vec![Finding::new(PATH, 1, what, fix)];
    };
    let what = format!("{} files import each other in a circle: {}", files.len(), files.join(", "));
    let fix = format!("move what they share into a file that imports none of them; {FILES_MAX} may");
    vec![Finding::new(files.first().map_or(PATH, String::as_str), 1, what, fix)]
}

/// The circles above `FILES_MAX` files, the largest first: sets of files each of which reaches each other one.
fn circles(imports: &BTreeMap<String, BTreeSet<String>>) -> Vec<Vec<String>> {
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        imports.keys().map(|file| (file.as_str(), reach(file, imports))).collect();
    let reaches = |from: &str, to: &str| reached.get(from).is_some_and(|files| files.contains(to));
    let mut found: Vec<Vec<String>> = Vec::new();
    for file in imports.keys().filter(|file| reaches(file, file)) {
        if found.iter().any(|circle| circle.contains(file)) {
            continue;
        }
        let both = imports.keys().filter(|other| reaches(file, other) && reaches(other, file));
        found.push(both.cloned().collect());
    }
    found.retain(|circle| circle.len() > FILES_MAX);
    found.sort_by_key(|circle| std::cmp::Reverse(circle.len()));
    found
}

fn reach<'a>(from: &str, imports: &'a BTreeMap<String, BTreeSet<String>>) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&str> = imports.get(from).into_iter().flatten().map(String::as_str).collect();
    while let Some(file) = open.pop() {
        if let Some((file, next)) = imports.get_key_value(file)
            && reached.insert(file.as_str())
        {
            open.extend(next.iter().map(String::as_str));
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::source::SourceFile;

    fn findings_of(left: &[usize], files: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<SourceFile> =
            files.iter().map(|(path, raw)| SourceFile::new(&format!("crates/a/src/{path}"), raw)).collect();
        let table = format!("test_support = []\n[large]\n[circles]\na = {left:?}\n");
        check(&sources, &toml::from_str(&table).unwrap()).into_iter().map(|finding| finding.what).collect()
    }

    const FOUR: [(&str, &str); 5] = [
        ("lib.rs", "mod b;\nmod c;\nmod d;\nmod e;\n"),
        ("b.rs", "use crate::c::C;\n"),
        ("c.rs", "use super::d;\n"),
        ("d/mod.rs", "pub fn f() -> crate::e::E {}\n"),
        ("e.rs", "use crate::{b::B, std as other};\n"),
    ];

    #[test]
    fn four_files_in_a_circle_are_found_and_three_are_not() {
        let circle = "crates/a/src/b.rs, crates/a/src/c.rs, crates/a/src/d/mod.rs, crates/a/src/e.rs";
        let expected = format!("4 files import each other in a circle: {circle}");
        assert_eq!(findings_of(&[], &FOUR), [expected.as_str()]);
        assert_eq!(findings_of(&[3], &FOUR), [expected]);
        let mut three = FOUR;
        three[2].1 = "use super::e;\n";
        assert!(findings_of(&[], &three).is_empty());
    }

    #[test]
    fn a_circle_that_is_left_may_stay_and_is_struck_out_once_it_is_gone() {
        assert!(findings_of(&[4], &FOUR).is_empty());
        let smaller = "the circles of `a` have [4] files now, not [5]";
        assert_eq!(findings_of(&[5], &FOUR), [smaller]);
        let gone = "the circles of `a` have [] files now, not [4]";
        assert_eq!(findings_of(&[4], &FOUR[..2]), [gone]);
    }
}
