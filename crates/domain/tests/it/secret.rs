//! The tests of `domain::secret`.

use domain::Secret;

#[test]
fn debug_shows_no_byte_of_it() {
    assert_eq!(format!("{:?}", Secret::from_text("sk-canary".into())), "Secret(9 bytes)");
}
