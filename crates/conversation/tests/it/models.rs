//! The moments in lists of models.

use conversation::models::moment;

#[test]
fn moments_are_of_the_calendar() {
    for (unix_s, text) in [
        (0, "1970-01-01T00:00:00Z"),
        (784_111_777, "1994-11-06T08:49:37Z"),
        (1_709_251_199, "2024-02-29T23:59:59Z"),
    ] {
        assert_eq!(moment(unix_s), text);
    }
}
