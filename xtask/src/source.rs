//! Splits a Rust file into code, literals, comments and test regions, as far as the checks need it.

use std::collections::BTreeSet;

/// What a character of a source file belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Literal,
    Comment,
}

/// A Rust file with comments and literals separated from its code.
pub struct SourceFile {
    /// Relative to the repository's root, with forward slashes.
    pub path: String,
    pub raw: String,
    /// Comments and literals replaced by blanks; lines kept.
    pub code: String,
    /// Comments replaced by blanks; literals and lines kept.
    pub text: String,
    /// For each line, whether it is compiled for tests only.
    test_lines: Vec<bool>,
    /// Modules declared in a test region whose body is in another file.
    test_modules: Vec<String>,
}

/// A function's name and its body's lines.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    pub line: usize,
    pub line_count: usize,
}

impl SourceFile {
    pub fn new(path: &str, raw: &str) -> Self {
        let classified = classify(raw);
        let code = keep(&classified, &[Kind::Code]);
        let text = keep(&classified, &[Kind::Code, Kind::Literal]);
        let (test_lines, test_modules) = test_regions(&code, &text, is_test_path(path));
        Self { path: path.to_owned(), raw: raw.to_owned(), code, text, test_lines, test_modules }
    }

    /// Whether the line (from 1) is compiled for tests only.
    pub fn is_test_line(&self, line: usize) -> bool {
        line.checked_sub(1).and_then(|at| self.test_lines.get(at)).copied().unwrap_or(false)
    }

    pub fn functions(&self) -> Vec<Function> {
        functions(&self.code)
    }

    fn mark_all_as_test(&mut self) {
        self.test_lines.iter_mut().for_each(|line| *line = true);
    }
}

/// Marks the files that another file declares as test modules (`#[cfg(test)] mod tests;`).
pub fn mark_test_modules(sources: &mut [SourceFile]) {
    let mut stems = BTreeSet::new();
    for source in sources.iter() {
        for module in &source.test_modules {
            stems.insert(format!("{}{module}", module_folder(&source.path)));
        }
    }
    for source in sources.iter_mut() {
        let stem = source.path.trim_end_matches(".rs");
        if stems.iter().any(|test| stem == test || source.path.starts_with(&format!("{test}/"))) {
            source.mark_all_as_test();
        }
    }
}

/// The line (from 1) of a character position.
pub fn line_of(text: &str, byte: usize) -> usize {
    text.get(..byte).map_or(1, |before| before.matches('\n').count() + 1)
}

/// Byte positions at which `word` stands alone, not as part of a longer identifier.
pub fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = text.get(..*at).and_then(|s| s.chars().next_back());
        let after = text.get(at + word.len()..).and_then(|s| s.chars().next());
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

/// The characters of the kinds in `kept`. Others are replaced by as many spaces as they have bytes, so that
/// positions are the same in every form of the file.
fn keep(classified: &[(char, Kind)], kept: &[Kind]) -> String {
    let mut out = String::with_capacity(classified.len());
    for (c, kind) in classified {
        if *c == '\n' || kept.contains(kind) {
            out.push(*c);
        } else {
            out.extend(std::iter::repeat_n(' ', c.len_utf8()));
        }
    }
    out
}

fn module_folder(path: &str) -> String {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    match file {
        "lib.rs" | "main.rs" | "mod.rs" => format!("{folder}/"),
        _ => format!("{folder}/{}/", file.trim_end_matches(".rs")),
    }
}

fn is_test_path(path: &str) -> bool {
    path.starts_with("tests/") || path.split('/').any(|part| part == "tests" || part == "tests.rs")
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn classify(raw: &str) -> Vec<(char, Kind)> {
    let chars: Vec<char> = raw.chars().collect();
    let mut out: Vec<(char, Kind)> = Vec::with_capacity(chars.len());
    while out.len() < chars.len() {
        let at = out.len();
        let (end, kind) = span(&chars, at);
        let end = end.clamp(at + 1, chars.len());
        out.extend(chars.get(at..end).unwrap_or_default().iter().map(|c| (*c, kind)));
    }
    out
}

/// The end and kind of the comment, literal or plain character at `at`.
fn span(chars: &[char], at: usize) -> (usize, Kind) {
    let here = |ahead: usize| chars.get(at + ahead).copied();
    let after_word = at.checked_sub(1).and_then(|before| chars.get(before)).copied().is_some_and(is_word);
    match (here(0), here(1)) {
        (Some('/'), Some('/')) => (find(chars, at, |c| c == '\n'), Kind::Comment),
        (Some('/'), Some('*')) => (block_comment_end(chars, at), Kind::Comment),
        (Some('"'), _) => (quoted_end(chars, at + 1, '"'), Kind::Literal),
        (Some('\''), Some('\\')) => (quoted_end(chars, at + 1, '\''), Kind::Literal),
        (Some('\''), Some(_)) if here(2) == Some('\'') => (at + 3, Kind::Literal),
        (Some('r'), _) if !after_word => raw_string(chars, at, at + 1),
        (Some('b' | 'c'), Some('r')) if !after_word => raw_string(chars, at, at + 2),
        _ => (at + 1, Kind::Code),
    }
}

fn find(chars: &[char], from: usize, wanted: impl Fn(char) -> bool) -> usize {
    chars.iter().skip(from).position(|c| wanted(*c)).map_or(chars.len(), |ahead| from + ahead)
}

fn block_comment_end(chars: &[char], from: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = from;
    while at < chars.len() {
        match (chars.get(at), chars.get(at + 1)) {
            (Some('/'), Some('*')) => (depth, at) = (depth + 1, at + 2),
            (Some('*'), Some('/')) => (depth, at) = (depth.saturating_sub(1), at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    at
}

fn quoted_end(chars: &[char], from: usize, quote: char) -> usize {
    let mut at = from;
    while let Some(c) = chars.get(at) {
        match *c {
            '\\' => at += 2,
            c if c == quote => return at + 1,
            _ => at += 1,
        }
    }
    at
}

fn raw_string(chars: &[char], start: usize, after_prefix: usize) -> (usize, Kind) {
    let quote = find(chars, after_prefix, |c| c != '#');
    if chars.get(quote) != Some(&'"') {
        return (start + 1, Kind::Code);
    }
    let hashes = quote - after_prefix;
    let mut at = quote + 1;
    while at < chars.len() {
        let closing = find(chars, at, |c| c == '"');
        let run = find(chars, closing + 1, |c| c != '#').min(closing + 1 + hashes);
        if run == closing + 1 + hashes {
            return (run, Kind::Literal);
        }
        at = closing + 1;
    }
    (at, Kind::Literal)
}

/// The lines that `#[cfg(test)]` (or the `fixtures` feature) covers, and the modules that are declared there.
fn test_regions(code: &str, text: &str, whole_file: bool) -> (Vec<bool>, Vec<String>) {
    let line_count = text.lines().count();
    let mut lines = vec![whole_file || code.contains("#![cfg(test)]"); line_count];
    let mut modules = Vec::new();
    for (at, _) in code.match_indices("#[cfg(") {
        let Some(attribute) = text.get(at..).and_then(|rest| rest.split(']').next()) else { continue };
        if !is_test_cfg(attribute) {
            continue;
        }
        let end = item_end(code, at);
        let item = code.get(at..end).unwrap_or_default();
        if let Some(module) = declared_module(item) {
            modules.push(module);
        }
        let (first, last) = (line_of(code, at), line_of(code, end));
        lines.iter_mut().skip(first - 1).take(last + 1 - first).for_each(|line| *line = true);
    }
    (lines, modules)
}

fn is_test_cfg(attribute: &str) -> bool {
    let test = words(attribute, "test").next().is_some() && !attribute.contains("not(test");
    test || attribute.contains("\"fixtures\"")
}

fn declared_module(item: &str) -> Option<String> {
    let declaration = item.strip_suffix(';')?;
    let name = declaration.rsplit_once("mod ")?.1.trim();
    name.chars().all(is_word).then(|| name.to_owned())
}

/// The end of the item whose attribute is at `from`.
fn item_end(code: &str, from: usize) -> usize {
    let (mut braces, mut others) = (0_usize, 0_usize);
    for (ahead, c) in code.get(from..).unwrap_or_default().char_indices() {
        match c {
            '{' => braces += 1,
            '}' => braces = braces.saturating_sub(1),
            '(' | '[' => others += 1,
            ')' | ']' => others = others.saturating_sub(1),
            _ => {}
        }
        let closed = braces == 0 && others == 0;
        if closed && (c == '}' || c == ';') {
            return from + ahead + 1;
        }
    }
    code.len()
}

fn functions(code: &str) -> Vec<Function> {
    let mut found = Vec::new();
    for at in words(code, "fn") {
        let rest = code.get(at + 2..).unwrap_or_default();
        let name: String = rest.trim_start().chars().take_while(|c| is_word(*c)).collect();
        if name.is_empty() {
            continue;
        }
        if let Some((open, close)) = body(code, at) {
            let line_count = line_of(code, close) + 1 - line_of(code, open);
            found.push(Function { name, line: line_of(code, at), line_count });
        }
    }
    found
}

/// The positions of the braces of the function at `from`; `None` for a declaration without a body.
fn body(code: &str, from: usize) -> Option<(usize, usize)> {
    let mut nested = 0_usize;
    let mut open = None;
    for (ahead, c) in code.get(from..)?.char_indices() {
        match c {
            '(' | '[' if open.is_none() => nested += 1,
            ')' | ']' if open.is_none() => nested = nested.saturating_sub(1),
            ';' if open.is_none() && nested == 0 => return None,
            '{' if open.is_none() && nested == 0 => open = Some((from + ahead, 1_usize)),
            '{' => open = open.map(|(at, depth)| (at, depth + 1)),
            '}' => {
                open = open.map(|(at, depth)| (at, depth.saturating_sub(1)));
                if let Some((at, 0)) = open {
                    return Some((at, from + ahead));
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{Function, SourceFile, mark_test_modules, words};

    fn code(raw: &str) -> String {
        SourceFile::new("crates/a/src/b.rs", raw).code
    }

    #[test]
    fn comments_and_literals_are_blanked() {
        let cases = [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ d */ e", "a                   e"),
            (r#"a "b \" c" d"#, "a          d"),
            ("a '\"' b", "a     b"),
            ("a '\\'' b", "a      b"),
            ("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)"),
            (r###"a r#"b " c"# d"###, "a            d"),
            (r###"a br"b" d"###, "a       d"),
            ("r#fn x", "r#fn x"),
            ("\"// no comment\" a", "                a"),
        ];
        for (raw, expected) in cases {
            assert_eq!(code(raw), expected, "{raw}");
        }
    }

    #[test]
    fn literals_stay_in_text() {
        let source = SourceFile::new("crates/a/src/b.rs", "a(\"b\") // c");
        assert_eq!(source.text, "a(\"b\")     ");
    }

    #[test]
    fn test_regions_are_found() {
        let raw = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() { if x { } }\n}\nfn c() {}\n";
        let source = SourceFile::new("crates/a/src/b.rs", raw);
        let marked: Vec<bool> = (1..=6).map(|line| source.is_test_line(line)).collect();
        assert_eq!(marked, [false, true, true, true, true, false]);
    }

    #[test]
    fn not_test_is_product_code_and_fixtures_are_not() {
        let raw = "#[cfg(not(test))]\nfn a() {}\n#[cfg(any(test, feature = \"fixtures\"))]\nfn b() {}\n";
        let source = SourceFile::new("crates/a/src/b.rs", raw);
        assert!(!source.is_test_line(2));
        assert!(source.is_test_line(4));
    }

    #[test]
    fn a_test_module_in_its_own_file_is_test_code() {
        let mut sources = [
            SourceFile::new("crates/a/src/lib.rs", "#[cfg(test)]\nmod cases;\nmod real;\n"),
            SourceFile::new("crates/a/src/cases.rs", "fn a() {}\n"),
            SourceFile::new("crates/a/src/real.rs", "fn a() {}\n"),
        ];
        mark_test_modules(&mut sources);
        let marked: Vec<bool> = sources.iter().map(|source| source.is_test_line(1)).collect();
        assert_eq!(marked, [true, true, false]);
    }

    #[test]
    fn functions_are_measured_from_brace_to_brace() {
        let raw =
            "trait T { fn a(x: [u8; 2]); }\nfn b<F: Fn(u8)>(f: fn(u8))\nwhere F: Copy,\n{\n    \"}\";\n}\n";
        let found = SourceFile::new("crates/a/src/b.rs", raw).functions();
        assert_eq!(found, [Function { name: "b".to_owned(), line: 2, line_count: 3 }]);
    }

    #[test]
    fn words_stand_alone() {
        assert_eq!(words("fn fnx xfn _fn fn", "fn").collect::<Vec<_>>(), [0, 15]);
    }
}
