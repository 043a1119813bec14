//! The tests of `domain::auth`.

use domain::AuthKind;

#[test]
fn a_name_is_read_as_it_is_written() {
    for kind in AuthKind::ALL {
        assert_eq!(AuthKind::from_name(kind.as_str()), Some(kind));
    }
    assert_eq!(AuthKind::from_name("API_KEY"), None);
}
