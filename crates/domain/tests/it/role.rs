//! The tests of `domain::role`.

use domain::Role;

#[test]
fn what_covers_what() {
    for role in Role::ALL {
        assert!(Role::Owner.covers(role) && role.covers(role) && role.covers(Role::Viewer));
        assert_eq!(role.as_str().parse(), Ok(role));
    }
    assert!(!Role::Developer.covers(Role::Billing) && !Role::Billing.covers(Role::Developer));
    assert!(!Role::Admin.covers(Role::Owner) && !Role::Viewer.covers(Role::Billing));
    assert!("root".parse::<Role>().is_err());
}
