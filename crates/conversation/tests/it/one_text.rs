//! The text of a custom tool, read from the pieces of its object.

use conversation::constraints::AnswerFilter;
use domain::{Event, PartKind};
use proptest::prelude::*;

/// The arguments of a function that stands for a custom tool, as its client reads them.
fn read(pieces: &[&str]) -> String {
    let mut fitting = AnswerFilter::new(&super::constraints::of_custom_tool("say"));
    let kind = PartKind::Call { id: "c".into(), name: "say".into(), is_custom: false };
    let mut events = vec![Event::Begin { choice: 0, part: 0, kind }];
    events.extend(pieces.iter().map(|piece| Event::Delta { choice: 0, part: 0, text: (*piece).into() }));
    fitting.apply(&mut events);
    let texts = events.into_iter().filter_map(|event| match event {
        Event::Delta { text, .. } => Some(text),
        _ => None,
    });
    texts.collect()
}

#[test]
fn the_text_comes_as_its_object_does() {
    for (pieces, text) in [
        (&["{\"input\":\"abc\"}"][..], "abc"),
        (&[" { \"in", "put\" :\n \"a", "b\\", "n\\u00e", "9\\ud83", "d\\ude00\\\"", "\" } "], "ab\né😀\""),
        (&["{\"input\":\"\\ud83dx\"}"], "\u{fffd}x"),
        (&["{\"input\":\"a\",\"more\":1}"], "a"),
        (&["{\"other\":\"a\"}"], "{\"other\":\"a\"}"),
        (&["just te", "xt"], "just text"),
        (&["{}"], "{}"),
        (&[""], ""),
    ] {
        assert_eq!(read(pieces), text, "{pieces:?}");
    }
}

proptest! {
    #[test]
    fn any_text_cut_anywhere_is_read(text in ".*", ascii in any::<bool>(), cut in any::<prop::sample::Index>()) {
        let mut json = serde_json::json!({"input": text}).to_string();
        if ascii {
            let units = |character: char| {
                let mut units = [0; 2];
                let units = character.encode_utf16(&mut units);
                units.iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>()
            };
            json = json.chars().map(|c| if c.is_ascii() { c.to_string() } else { units(c) }).collect();
        }
        let at = json.floor_char_boundary(cut.index(json.len()));
        prop_assert_eq!(read(&[&json[..at], &json[at..]]), text);
    }
}
