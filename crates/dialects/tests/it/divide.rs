//! The tests of `dialects::divide`.

use dialects::divide_prompt;
use domain::Grammar;
use domain::limits::PREFIX_ENDS_MAX;

fn talk(turns: usize) -> String {
    let turn = |number| format!(r#"{{"role":"user","parts":[{{"text":"turn {number}"}}]}}"#);
    let turns: Vec<String> = (0..turns).map(turn).collect();
    format!(r#"{{"systemInstruction":{{"parts":[{{"text":"S"}}]}},"contents":[{}]}}"#, turns.join(","))
}

#[test]
fn a_longer_conversation_begins_as_the_shorter_did() {
    let (short, long) = (talk(2), talk(4));
    let short = divide_prompt(Grammar::Gemini, short.as_bytes()).unwrap();
    let long = divide_prompt(Grammar::Gemini, long.as_bytes()).unwrap();
    assert_eq!(short.cuts(), &long.cuts()[..2]);
    assert!(long.cuts().is_sorted_by_key(|cut| cut.bytes) && long.bytes() > long.cuts()[3].bytes);
    let other = talk(3).replace("\"S\"", "\"T\"");
    let other = divide_prompt(Grammar::Gemini, other.as_bytes()).unwrap();
    assert_ne!(other.cuts()[0].fingerprint, long.cuts()[0].fingerprint);
}

#[test]
fn few_cuts_of_a_long_conversation_are_looked_at() {
    let body = talk(PREFIX_ENDS_MAX + 10);
    let long = divide_prompt(Grammar::Gemini, body.as_bytes()).unwrap();
    let cuts = long.cuts();
    assert_eq!(cuts.len(), PREFIX_ENDS_MAX);
    let body = talk(12);
    let short = divide_prompt(Grammar::Gemini, body.as_bytes()).unwrap();
    assert_eq!((cuts[0], cuts[1]), (short.cuts()[0], short.cuts()[11]));
    assert!(divide_prompt(Grammar::Chat, body.as_bytes()).is_none());
}
