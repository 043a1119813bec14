//! The tests of `domain::tools`.

use domain::CallOutcome;
use domain::tools::{Approval, ArgumentPlace};

#[test]
fn words_are_those_of_the_variants() {
    assert_eq!(CallOutcome::ALL.map(CallOutcome::as_str), CallOutcome::WORDS);
    let again = |word| ArgumentPlace::by_name(word).unwrap().as_str();
    assert_eq!(ArgumentPlace::WORDS.map(again), ArgumentPlace::WORDS);
}

#[test]
fn approval_is_for_all_but_the_named() {
    let except = Approval::Except(vec!["read".to_owned()]);
    assert!(!except.is_needed("read") && except.is_needed("write"));
    assert!(Approval::Always.is_needed("read") && !Approval::Never.is_needed("read"));
}
