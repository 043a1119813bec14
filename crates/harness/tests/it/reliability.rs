//! docs/reliability.md: each of its cases names tests that exist, or says what is missing.

use std::path::Path;

/// The text before and after each link whose text is a test: its module, its name, and its file.
fn tests_of(row: &str) -> Vec<(&str, &str, &str)> {
    let links = row.split("[`").skip(1);
    links
        .filter_map(|link| {
            let (test, rest) = link.split_once("`](")?;
            let (module, name) = test.split_once("::")?;
            Some((module, name, rest.split_once(')')?.0))
        })
        .collect()
}

#[test]
fn each_case_of_reliability_names_its_tests_and_what_is_missing() {
    let docs = harness::process::workspace().join("docs");
    let page = std::fs::read_to_string(docs.join("reliability.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| ") && line.as_bytes()[2].is_ascii_digit());
    let mut states = [0; 3];
    let mut numbers = 0_i32;
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [number, _, figure, state, tests] = cells[..] else { panic!("five cells: {row}") };
        numbers += 1;
        assert_eq!(number.parse::<i32>(), Ok(numbers), "{row}");
        let (word, why) = state.split_once(": ").unwrap_or((state, ""));
        let place = ["met", "partly", "absent"].iter().position(|known| *known == word);
        states[place.unwrap_or_else(|| panic!("a state of its own: {row}"))] += 1;
        assert_eq!(
            word == "met",
            why.is_empty(),
            "what is missing is said, and nothing of what is met: {row}"
        );
        assert!(!figure.is_empty() && !tests_of(tests).is_empty(), "{row}");
        for (module, name, path) in tests_of(tests) {
            let file = docs.join(path);
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            assert!(text.contains(&format!("fn {name}(")), "{number}: {path} has no test {name}");
            assert_eq!(Path::new(path).file_stem().unwrap(), module, "{number}: {path}");
        }
    }
    assert_eq!(numbers, 36);
    let [met, partly, absent] = states;
    let sum = format!("Met {met}, partly {partly}, absent {absent}.");
    assert!(page.trim_end().ends_with(&sum), "{sum}");
}
