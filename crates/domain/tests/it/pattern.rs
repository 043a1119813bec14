//! The tests of `domain::pattern`.

use domain::ModelPattern;

#[test]
fn a_pattern_is_exact_unless_it_ends_in_a_star_or_a_slash() {
    for (pattern, text, name, matches) in [
        ("openai/gpt-4o", "openai/gpt-4o", "openai/gpt-4o", true),
        ("openai/gpt-4o", "openai/gpt-4o", "openai/gpt-4o-mini", false),
        ("openai/gpt-4o*", "openai/gpt-4o*", "openai/gpt-4o-mini", true),
        ("openai/gpt-4o**", "openai/gpt-4o*", "openai/gpt-4o", true),
        ("openai/", "openai/", "openai/gpt-4o", true),
        ("openai/*", "openai/", "openai/gpt-4o", true),
        ("openai/", "openai/", "openai", false),
        ("*", "*", "anything", true),
    ] {
        let read = ModelPattern::read(pattern);
        assert_eq!((read.as_text().as_ref(), read.matches(name)), (text, matches), "{pattern} {name}");
    }
}
