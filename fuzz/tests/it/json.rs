//! Fuzzes the JSON scanner against serde_json.

use bolero::check;
use json::validate;

use crate::material::{ITERATIONS, seeded};

const SEEDS: &[&str] = &[
    r#"{"a":[1,-2.5e+3,true,null,"\u00e9\ud83d\ude00\n"],"b":{"c":{}}}"#,
    r#" [ [ ] , { "k" : [ 0 , 1e9 ] } ] "#,
    "\"é漢😀\\\"\\\\\"",
];

/// Both accept the same texts, except for numbers outside of the range of f64.
fn agrees(bytes: &[u8]) {
    let ours = validate(bytes);
    match serde_json::from_slice::<serde_json::Value>(bytes) {
        Ok(_) => assert_eq!(ours, Ok(())),
        Err(error) if error.to_string().contains("number out of range") => {}
        Err(_) => assert!(ours.is_err(), "{:?}", String::from_utf8_lossy(bytes)),
    }
}

#[test]
fn fuzz_json_bytes() {
    check!().with_iterations(ITERATIONS).for_each(|bytes: &[u8]| agrees(bytes));
}

#[test]
fn fuzz_json_bent() {
    seeded(SEEDS, check!(), |input, ()| agrees(input));
}
