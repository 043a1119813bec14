//! Fuzzes the answers of policies' hooks.

use bolero::check;

use crate::material::fuzz;

#[test]
fn fuzz_hook_answer() {
    fuzz("hook_answer", check!(), |bytes| match line::read_decision(bytes) {
        Some(Err(reason)) => {
            assert!(reason.len() <= bytes.len() && !reason.chars().any(char::is_control));
            true
        }
        Some(Ok(())) => true,
        None => false,
    });
}
