//! The scanner agrees with serde_json on what is JSON, and on what strings mean.

use json::{Cursor, JsonError, JsonFault, Kind, Text, Value, find_member, validate};
use proptest::prelude::*;

fn fault(text: &str) -> Option<JsonFault> {
    validate(text.as_bytes()).err().map(|error| error.fault)
}

#[test]
fn what_is_json() {
    let rows = [
        &[r#"{"":{"":[]}}"#, "\"é😀\"", "\"\u{7f}\"", "null", "true", "false", "0", "-0", "1.5e+10"][..],
        &["{ }", "[1,2]", r#"{"a":1,"a":2}"#, r#""\u00e9\ud83d\ude00\n\/""#, "\t\r\n 1 ", "[[],{},[{}]]"],
        &["1e999999", "-12.25E-3", "\"\"", "[]", "{}", " [ ] "],
    ];
    for text in rows.concat() {
        assert_eq!(fault(text), None, "{text}");
    }
}

#[test]
fn what_is_no_json() {
    let rows = [
        &["", " ", "nul", "nulll", "truefalse", "01", "+1", ".5", "1.", "1e", "1e+", "-", "--1", "0x1"][..],
        &["\"", "\"a", "'a'", "[", "]", "[1", "[1,", "[1,]", "[,1]", "[1 2]", "{", "}", "{\"a\"", "{\"a\":"],
        &["{\"a\":1", "{\"a\":1,", "{\"a\":1,}", "{a:1}", "{1:1}", "{\"a\" 1}", "{,}", "[}", "{]", "[1}"],
        &["{\"a\":1]", "1 2", "{}{}", "\"\\x\"", "\"\\u12\"", "\"\\u12g4\"", "\u{feff}{}", "// 1", "[1]/**/"],
        &["\u{a0}1", "\u{b}1", "NaN"],
    ];
    for text in rows.concat() {
        assert!(fault(text).is_some(), "{text}");
    }
}

#[test]
fn each_limit_has_its_fault() {
    assert_eq!(fault("\"a\nb\""), Some(JsonFault::Control));
    assert_eq!(fault("\"\0\""), Some(JsonFault::Control));
    for lone in [r"\ud800", r"\udc00", r"\ud800\ud800", r"\ud800x", r"\ud800\n"] {
        assert_eq!(fault(&format!("\"{lone}\"")), Some(JsonFault::Surrogate), "{lone}");
    }
    assert_eq!(fault(r#"{"\udfff":1}"#), Some(JsonFault::Surrogate));
    assert_eq!(validate(b"\"\xff\"").expect_err("no UTF-8"), JsonError { fault: JsonFault::Utf8, at: 1 });
    assert_eq!(validate(b"\"\xed\xa0\x80\"").expect_err("a surrogate").fault, JsonFault::Utf8);
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert_eq!(fault(&deep(128)), None);
    assert_eq!(fault(&deep(129)), Some(JsonFault::Depth));
    assert_eq!(fault(&"[".repeat(1_000_000)), Some(JsonFault::Depth));
    assert_eq!(fault(&"{\"a\":".repeat(1_000_000)), Some(JsonFault::Depth));
    let wide = |keys: usize| format!("{{{}}}", vec!["\"a\":1"; keys].join(","));
    assert_eq!(fault(&wide(100_000)), None);
    assert_eq!(fault(&wide(100_001)), Some(JsonFault::Keys));
    assert_eq!(fault("[1"), Some(JsonFault::Truncated));
}

#[test]
fn members_are_found_by_what_their_names_mean() {
    let text = br#"{"x":[{"model":1}],"mod\u0065l": "a" ,"y":2}"#;
    let span = find_member(text, "model").expect("valid").expect("found");
    assert_eq!(span.of(text), b"\"a\"");
    assert_eq!(find_member(text, "z").expect("valid"), None);
    assert_eq!(find_member(b"[1]", "z").expect("valid"), None);
    assert!(find_member(b"{\"z\":1", "z").is_err());
}

/// Documents without values deeper than serde_json accepts: the two limits differ by one.
fn document() -> impl Strategy<Value = String> {
    let quoted = |text: &str| serde_json::to_string(text).expect("a string");
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>()
            .prop_filter("finite", |number| number.is_finite())
            .prop_map(|number| format!("{number:e}")),
        any::<String>().prop_map(move |text| quoted(&text)),
        "[a-z\\\\\"/\u{0}-\u{20}ud8c0-9]{0,12}".prop_map(|inner| format!("\"{inner}\"")),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6)
                .prop_map(|values| format!("[ {} ]", values.join(" ,"))),
            prop::collection::vec((any::<String>(), inner), 0..6).prop_map(
                move |members: Vec<(String, String)>| {
                    let member = |(key, value): &(String, String)| format!("{}:\n{value}", quoted(key));
                    format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(","))
                }
            ),
        ]
    })
}

/// Collects every string that the cursor reads, decoded.
fn strings(cursor: &mut Cursor<'_>, found: &mut Vec<String>) -> Result<(), JsonError> {
    let mut keep = |text: &Text<'_>| {
        let decoded = text.decode().into_owned();
        assert_eq!(decoded.len(), text.decoded_len());
        assert!(text.is(&decoded));
        found.push(decoded);
    };
    match cursor.kind()? {
        Kind::Object => {
            cursor.object(|cursor, member| {
                found.push(member.key.decode().into_owned());
                strings(cursor, found)
            })?;
        }
        Kind::Array => {
            cursor.array(|cursor, _| strings(cursor, found))?;
        }
        _ => {
            if let Value::String(text) = cursor.value()? {
                keep(&text);
            }
        }
    }
    Ok(())
}

fn serde_strings(value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::String(text) => found.push(text.clone()),
        serde_json::Value::Array(values) => values.iter().for_each(|value| serde_strings(value, found)),
        serde_json::Value::Object(members) => {
            for (key, value) in members {
                found.push(key.clone());
                serde_strings(value, found);
            }
        }
        _ => {}
    }
}

fn agrees(bytes: &[u8]) {
    let ours = validate(bytes);
    match serde_json::from_slice::<serde_json::Value>(bytes) {
        Ok(value) => {
            assert!(ours.is_ok(), "{ours:?} for {}", String::from_utf8_lossy(bytes));
            let (mut expected, mut found) = (Vec::new(), Vec::new());
            serde_strings(&value, &mut expected);
            strings(&mut Cursor::new(bytes).expect("UTF-8"), &mut found).expect("valid");
            expected.sort();
            found.sort();
            // serde_json keeps the last of two members with the same name.
            if found.len() == expected.len() {
                assert_eq!(found, expected);
            }
        }
        // A number that does not fit into an f64 is still valid JSON.
        Err(error) if error.to_string().contains("number out of range") => {}
        Err(error) => assert!(ours.is_err(), "{error} for {}", String::from_utf8_lossy(bytes)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whole_documents_agree(text in document()) {
        agrees(text.as_bytes());
    }

    #[test]
    fn cut_and_changed_documents_agree(text in document(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        if cut {
            bytes.truncate(at);
        } else {
            bytes[at] = byte;
        }
        agrees(&bytes);
    }

    #[test]
    fn any_bytes_agree(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        agrees(&bytes);
    }

    #[test]
    fn bytes_that_look_like_json_agree(text in "[\\[\\]{},:\"\\\\u0-9deE+\\-. tfn]{0,24}") {
        agrees(text.as_bytes());
    }
}
