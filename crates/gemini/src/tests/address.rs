//! Request paths: the model and the operation.

use crate::address::{Verb, read_address};

fn model(rest: &str) -> String {
    let (addressed, verb) = read_address(rest, "").unwrap_or_else(|fault| panic!("{rest}: {fault}"));
    assert_eq!(verb, Verb::Generate, "{rest}");
    addressed.model
}

#[test]
fn the_last_colon_counts_and_slashes_come_in_every_form() {
    for (rest, expected) in [
        ("models/gemini-2.5-flash:generateContent", "gemini-2.5-flash"),
        ("gemini-2.5-flash:generateContent", "gemini-2.5-flash"),
        ("models/openai/gpt-4o-mini:generateContent", "openai/gpt-4o-mini"),
        ("models/openai%2Fgpt-4o-mini:generateContent", "openai/gpt-4o-mini"),
        ("models/openai%2fgpt-4o-mini%3AgenerateContent", "openai/gpt-4o-mini"),
        ("gemini/gemini-2.5-flash:generateContent", "gemini/gemini-2.5-flash"),
        (
            "models/bedrock/anthropic.claude-sonnet-4-v1:0:generateContent",
            "bedrock/anthropic.claude-sonnet-4-v1:0",
        ),
        ("models/a%3A0:generateContent", "a:0"),
        ("models/m@1#x:generateContent", "m@1#x"),
        ("models/a..b:generateContent", "a..b"),
        ("models/100%:generateContent", "100%"),
        ("tunedModels/mine:generateContent", "tunedModels/mine"),
        ("projects/p/locations/l/publishers/google/models/m:generateContent", "m"),
    ] {
        assert_eq!(model(rest), expected, "{rest}");
    }
}

#[test]
fn streams_are_arrays_unless_events_are_asked_for() {
    let (_, verb) = read_address("models/m:countTokens", "alt=sse").unwrap();
    assert_eq!(verb, Verb::Count);
    for (query, as_array) in [
        ("", true),
        ("alt=json", true),
        ("key=x&alt=sse", false),
        ("alt=SSE", false),
        ("%24alt=sse", false),
        ("malt=sse", true),
    ] {
        let (addressed, verb) = read_address("models/m:streamGenerateContent", query).unwrap();
        assert_eq!((verb, addressed.stream, addressed.as_array), (Verb::Stream, true, as_array), "{query}");
    }
    for verb in Verb::ALL {
        let (addressed, read) = read_address(&format!("models/m:{}", verb.as_str()), "alt=sse").unwrap();
        assert_eq!((read, addressed.stream, addressed.as_array), (verb, verb == Verb::Stream, false));
    }
}

#[test]
fn what_leads_elsewhere_is_refused() {
    for (rest, code) in [
        ("models/../secrets:generateContent", "invalid_value"),
        ("models/%2e%2e/secrets:generateContent", "invalid_value"),
        ("models/a/..%2Fb:generateContent", "invalid_value"),
        ("models/a%5C..%5Cb:generateContent", "invalid_value"),
        ("models/.:generateContent", "invalid_value"),
        ("models/..:generateContent", "invalid_value"),
        ("..:generateContent", "invalid_value"),
        ("models/:generateContent", "invalid_value"),
        ("models/a%00b:generateContent", "invalid_value"),
        ("models/a%FFb:generateContent", "invalid_value"),
        ("models/m", "unknown_path"),
        ("models/m:predict", "unknown_path"),
        ("models/m:generatecontent", "unknown_path"),
        ("", "unknown_path"),
    ] {
        let fault = read_address(rest, "").expect_err(rest);
        assert_eq!(fault.code, code, "{rest}: {fault}");
        assert!(fault.fix.is_some(), "{rest}");
    }
}
