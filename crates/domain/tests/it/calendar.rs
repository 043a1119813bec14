//! The tests of `domain::calendar`.

use domain::calendar::Civil;

#[test]
fn days_and_times_are_those_of_the_calendar() {
    for (unix_s, expected) in [
        (0, (1970, 1, 1, 0, 0, 0)),
        (951_782_399, (2000, 2, 28, 23, 59, 59)),
        (951_782_400, (2000, 2, 29, 0, 0, 0)),
        (951_868_800, (2000, 3, 1, 0, 0, 0)),
        (1_440_938_160, (2015, 8, 30, 12, 36, 0)),
        (4_107_542_400, (2100, 3, 1, 0, 0, 0)),
    ] {
        let Civil { year, month, day, hour, minute, second } = Civil::of(unix_s);
        assert_eq!((year, month, day, hour, minute, second), expected, "{unix_s}");
        assert_eq!(Civil::of(unix_s).unix_s(), Some(unix_s));
    }
}

#[test]
fn a_moment_that_is_none_has_no_seconds() {
    let wrong = [(1969, 12, 31), (2026, 0, 1), (2026, 13, 1), (2026, 2, 29), (2026, 11, 0), (10_000, 1, 1)];
    let wrong = wrong.map(|(year, month, day)| (year, month, day, 0));
    for (year, month, day, hour) in wrong.into_iter().chain([(2026, 11, 20, 24)]) {
        let wrong = Civil { year, month, day, hour, minute: 0, second: 0 };
        assert_eq!(wrong.unix_s(), None, "{wrong:?}");
    }
}
