//! Fuzzes the requests of A2A.

use a2a::fixtures::input_of;
use bolero::check;

use crate::material::fuzz;

#[test]
fn fuzz_a2a_message() {
    fuzz("a2a_message", check!(), |bytes| match input_of(bytes) {
        Ok(read) => {
            let text = read["input"]["text"].as_str().expect("a text, though it may be empty");
            assert!(text.len() <= 8 * bytes.len(), "{} bytes of {}", text.len(), bytes.len());
            let id = &read["id"];
            assert!(id.is_string() || id.is_i64() || id.is_u64(), "{id}");
            true
        }
        Err(refusal) => {
            assert!(refusal["error"]["code"].is_i64() && refusal["jsonrpc"] == "2.0", "{refusal}");
            false
        }
    });
}
