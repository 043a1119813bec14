//! Fuzzes what policies change in requests before they are sent.

use bolero::check;
use bytes::Bytes;
use guardrails::{ParameterPlace, Parameters, fit_parameters};

use crate::material::fuzz;

#[test]
fn fuzz_parameters() {
    let place = |container| ParameterPlace {
        container,
        output_tokens: &["max_completion_tokens", "max_tokens", "maxOutputTokens"],
        store: Some(("store", true)),
    };
    let wanted = Parameters { rules: &[], output_tokens: Some(5), stores_nothing: true };
    fuzz("parameters", check!(), |bytes| {
        let body = Bytes::copy_from_slice(bytes);
        let is_json = json::validate(bytes).is_ok();
        let mut is_changed = false;
        for container in [None, Some("generationConfig")] {
            let Some(written) = fit_parameters(&body, place(container), wanted).body else { continue };
            assert!(!is_json || json::validate(&written).is_ok(), "{}", String::from_utf8_lossy(&written));
            let again = fit_parameters(&written, place(container), wanted);
            assert!(again.body.is_none(), "what is written needs no change");
            is_changed = true;
        }
        is_json && is_changed
    });
}
