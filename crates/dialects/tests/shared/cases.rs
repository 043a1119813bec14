//! Tables of cases, for tests that compare many short texts.

/// The cases of a table: a text, and behind an arrow, perhaps on the next line, what is found in it.
pub fn cases(table: &str) -> Vec<(String, String)> {
    let whole = table.trim().replace("\n  =>", " =>");
    let case = |line: &str| line.split_once(" => ").map(|(text, found)| (text.to_owned(), found.to_owned()));
    whole.lines().map(|line| case(line).expect(line)).collect()
}
