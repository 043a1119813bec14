//! The names that a mistyped one is near to.

use catalogue::nearest_of;

#[test]
fn typing_errors_find_their_name() {
    let names = ["openai/gpt-4o", "openai/gpt-4o-mini", "meta-llama/Llama-3.3-70B-Instruct"];
    for (wanted, first) in [
        ("openai/gpt-4", "openai/gpt-4o"),
        ("gpt4o", "openai/gpt-4o"),
        ("gpt-4o-mni", "openai/gpt-4o-mini"),
        ("llama-3.3-70b-instruct", "meta-llama/Llama-3.3-70B-Instruct"),
        ("META-LLAMA/llama-3.3-70b-instruct", "meta-llama/Llama-3.3-70B-Instruct"),
    ] {
        let found = nearest_of(wanted, names.into_iter(), 3);
        assert_eq!(found.first().map(String::as_str), Some(first), "{wanted}: {found:?}");
    }
}

#[test]
fn what_resembles_nothing_finds_nothing() {
    let names = ["openai/gpt-4o"];
    assert!(nearest_of("claude-sonnet", names.into_iter(), 3).is_empty());
    assert!(nearest_of("", names.into_iter(), 3).is_empty());
    assert!(nearest_of(&"a".repeat(10_000), names.into_iter(), 3).is_empty());
}
