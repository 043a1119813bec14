//! Fuzzes documents that tools are imported from, and schemas that answers are compared with.

use bolero::check;
use schemas::Schema;
use serde_json::Value;

use crate::material::fuzz;

#[test]
fn fuzz_openapi() {
    fuzz("openapi", check!(), |bytes| {
        let Ok(document) = serde_json::from_slice::<Value>(bytes) else { return false };
        match tools::import(&document, None, None) {
            Ok(tools) => {
                let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
                assert!(tools.iter().all(|tool| tool.name.len() <= 64 && tool.name.bytes().all(is_plain)));
                true
            }
            Err(error) => {
                assert!(!error.message.is_empty() && error.pointer.starts_with('/'), "{error:?}");
                false
            }
        }
    });
}

#[test]
fn fuzz_schema() {
    fuzz("schema", check!(), |bytes| {
        let Ok(pair) = serde_json::from_slice::<Value>(bytes) else { return false };
        let Ok(schema) = Schema::compile(&pair["schema"]) else { return false };
        if let Ok(errors) = schema.errors(&pair["value"], 5) {
            assert!(errors.len() <= 5);
        }
        true
    });
}
