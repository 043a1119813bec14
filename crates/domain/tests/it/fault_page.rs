//! The tests of `domain::fault_page`.

use domain::fault_codes::FAULT_CODES;
use domain::fault_page::page_table;

const MEANING_CHARS_MAX: usize = 120;

#[test]
fn codes_are_sorted_and_unique() {
    let unsorted = FAULT_CODES.array_windows().find(|[(code, _), (next, _)]| code >= next);
    assert_eq!(unsorted, None);
}

#[test]
fn codes_are_plain_words_and_meanings_are_sentences() {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    for (code, meaning) in FAULT_CODES {
        assert!(!code.is_empty() && code.bytes().all(is_plain), "{code}");
        assert!(meaning.ends_with('.') && meaning.chars().count() <= MEANING_CHARS_MAX, "{code}: {meaning}");
        assert!(!meaning.contains(['|', '\n']), "{code}: {meaning}");
    }
}

#[test]
fn the_page_lists_the_codes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors.md");
    let page = std::fs::read_to_string(path).unwrap();
    let start = page.find("| code | meaning |\n").unwrap();
    let end = start + page[start..].find("\n\n").unwrap() + 1;
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let page = format!("{}{}{}", &page[..start], page_table(), &page[end..]);
        std::fs::write(path, page).unwrap();
    } else {
        assert_eq!(page[start..end], page_table(), "run the tests of this crate with UPDATE_DOCS=1");
    }
}
