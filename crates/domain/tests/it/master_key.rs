//! The tests of `domain::master_key`.

use domain::master_key::wrapped_prefix;

#[test]
fn no_name_begins_as_another_does() {
    assert_eq!(wrapped_prefix("local:a"), b"\x02\x07local:a");
    assert!(!wrapped_prefix("local:ab").starts_with(&wrapped_prefix("local:a")));
    assert_eq!(wrapped_prefix(&"n".repeat(300)).len(), 257);
}
