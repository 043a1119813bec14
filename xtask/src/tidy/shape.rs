//! Checks that files start with a doc comment, and the sizes of files and functions.

use crate::finding::Finding;
use crate::source::SourceFile;

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 800;

pub fn check(source: &SourceFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(head(source));
    findings.extend(file_size(source));
    findings.extend(function_sizes(source));
    findings
}

fn head(source: &SourceFile) -> Option<Finding> {
    let good = source.raw.starts_with("//! ");
    let fix = "open the file with one `//!` sentence that says what lives in it";
    (!good).then(|| Finding::new(&source.path, 1, "the file has no head", fix))
}

fn file_size(source: &SourceFile) -> Option<Finding> {
    let line_count = source.raw.lines().count();
    let what = format!("the file has {line_count} lines, {FILE_LINES_MAX} at most");
    let fix = "move what belongs together into a module of its own";
    (line_count > FILE_LINES_MAX).then(|| Finding::new(&source.path, 1, what, fix))
}

fn function_sizes(source: &SourceFile) -> Vec<Finding> {
    let long = source.functions().into_iter().filter(|function| function.line_count > FUNCTION_LINES_MAX);
    long.map(|function| {
        let what =
            format!("`{}` has {} lines, {FUNCTION_LINES_MAX} at most", function.name, function.line_count);
        let fix = "let it decide and hand the work to smaller functions";
        Finding::new(&source.path, function.line, what, fix)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::source::SourceFile;

    fn findings_of(raw: &str) -> Vec<(usize, String)> {
        let findings = check(&SourceFile::new("crates/a/src/b.rs", raw));
        findings.into_iter().map(|finding| (finding.line, finding.what)).collect()
    }

    #[test]
    fn a_headed_small_file_passes() {
        assert!(findings_of("//! Head.\nfn a() {}\n").is_empty());
    }

    #[test]
    fn a_file_without_a_head_fails() {
        assert_eq!(findings_of("use x;\n"), [(1, "the file has no head".to_owned())]);
    }

    #[test]
    fn seventy_lines_pass_and_one_more_fails() {
        let function = |lines: usize| format!("//! Head.\nfn a() {{\n{}}}\n", "x;\n".repeat(lines - 2));
        assert!(findings_of(&function(70)).is_empty());
        assert_eq!(findings_of(&function(71)), [(2, "`a` has 71 lines, 70 at most".to_owned())]);
    }

    #[test]
    fn eight_hundred_lines_pass_and_one_more_fails() {
        let file = |lines: usize| format!("//! Head.\n{}", "\n".repeat(lines - 1));
        assert!(findings_of(&file(800)).is_empty());
        assert_eq!(findings_of(&file(801)), [(1, "the file has 801 lines, 800 at most".to_owned())]);
    }
}
