//! Which release a name means.

use catalogue::Release;

#[test]
fn a_name_says_which_release_is_meant() {
    use Release::{Dated, FineTuned, Latest};
    for (name, expected) in [
        ("claude-haiku-4-5-20251001", Some((Dated, "claude-haiku-4-5"))),
        ("claude-haiku-4-5@20251001", Some((Dated, "claude-haiku-4-5"))),
        ("gpt-4o-2024-08-06", Some((Dated, "gpt-4o"))),
        ("gpt-4-0613", Some((Dated, "gpt-4"))),
        ("pixtral-12b-2409", Some((Dated, "pixtral-12b"))),
        ("gemini-flash-latest", Some((Latest, "gemini-flash"))),
        ("ft:gpt-4o-mini-2024-07-18:acme:name:id", Some((FineTuned, "gpt-4o-mini-2024-07-18"))),
        ("ft:gpt-4o-mini", Some((FineTuned, "gpt-4o-mini"))),
        ("gpt-4o", None),
        ("gpt-4o-9999-99-99", None),
        ("model-19990101", None),
        ("model-1300", None),
        ("-20251001", None),
        ("größe-2024", None),
        ("", None),
    ] {
        assert_eq!(Release::read(name), expected, "{name}");
    }
}

#[test]
fn another_day_is_told_from_the_same_one_and_from_none() {
    let requested = "claude-haiku-4-5-20251001";
    for (sold, is_other) in [
        ("anthropic.claude-haiku-4-5-20251001-v1:0", false),
        ("claude-haiku-4-5@20251001", false),
        ("anthropic/claude-haiku-4.5", false),
        ("anthropic.claude-haiku-4-5-20260101-v1:0", true),
    ] {
        assert_eq!(Release::is_of_another_day(requested, sold), is_other, "{sold}");
    }
    assert!(!Release::is_of_another_day("gpt-4o-2024-08-06", "gpt-4o-20240806"));
    assert!(!Release::is_of_another_day("claude-haiku-4-5-latest", "claude-haiku-4-5-20251001"));
}
