//! The tests of `domain::kept_names`.

use std::collections::BTreeSet;

use domain::{KeptName, TraceId};

#[test]
fn each_name_is_its_own() {
    let request = TraceId::new(1_700_000_000_000, [7; 10]);
    let names: BTreeSet<_> = KeptName::all().map(|name| name.of(request)).collect();
    assert_eq!(names.len(), KeptName::all().count());
    assert!(names.contains(&format!("kept-response:{request}")), "{names:?}");
}
