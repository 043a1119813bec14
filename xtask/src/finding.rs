//! One finding of a check: where, what, and how to fix it.

use std::fmt;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    pub path: String,
    pub line: usize,
    pub what: String,
    pub fix: String,
}

impl Finding {
    pub fn new(path: &str, line: usize, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into(), fix: fix.into() }
    }
}

/// Prints what a check found and looked at; `true` if it found nothing.
pub fn print(findings: &[Finding], summary: &str) -> bool {
    findings.iter().for_each(|finding| println!("{finding}"));
    match findings.len() {
        0 => println!("{summary}"),
        count => println!("{count} finding(s); {summary}"),
    }
    findings.is_empty()
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {}\n    fix: {}", self.path, self.line, self.what, self.fix)
    }
}

#[cfg(test)]
mod tests {
    use super::Finding;

    #[test]
    fn shows_where_what_and_how() {
        let finding = Finding::new("a/b.rs", 3, "too long", "split it");
        assert_eq!(finding.to_string(), "a/b.rs:3: too long\n    fix: split it");
    }
}
