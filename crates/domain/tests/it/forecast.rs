//! The tests of `domain::forecast`.

use domain::Nanos;
use domain::forecast::Progress;

const DAY_MS: u64 = 86_400_000;

fn progress(used: i64, used_lately: i64, day: u64) -> Progress {
    let [amount, used, used_lately] = [1_000, used, used_lately].map(Nanos);
    let [end_unix_ms, now_unix_ms] = [30, day].map(|days| days * DAY_MS);
    Progress { amount, used, used_lately, start_unix_ms: 0, end_unix_ms, now_unix_ms }
}

#[test]
fn both_rates_are_drawn_to_the_end() {
    let forecast = progress(300, 140, 15).forecast();
    assert_eq!((forecast.by_period, forecast.by_last_days), (Nanos(600), Nanos(600)));
    assert_eq!((forecast.exhausted_unix_ms, forecast.under_used), (None, Nanos(400)));
    let faster = progress(300, 280, 15).forecast();
    assert_eq!((faster.by_period, faster.by_last_days), (Nanos(600), Nanos(900)));
    let over = progress(600, 350, 15).forecast();
    assert_eq!((over.by_last_days, over.under_used), (Nanos(1_350), Nanos(0)));
    assert_eq!(over.exhausted_unix_ms, Some(23 * DAY_MS), "400 left at 50 a day");
}

#[test]
fn nothing_used_and_everything_used_have_no_date() {
    assert_eq!(progress(0, 0, 10).forecast().exhausted_unix_ms, None);
    assert_eq!(progress(1_000, 500, 10).forecast().exhausted_unix_ms, None);
    let fresh = Progress { now_unix_ms: 0, ..progress(0, 0, 0) }.forecast();
    assert_eq!(fresh.by_period, Nanos(0));
}

#[test]
fn under_use_is_told_near_the_end_alone() {
    for (used, day, expected) in [
        (500, 20, None),
        (500, 26, None),
        (540, 27, Some(400)),
        (855, 27, None),
        (854, 27, Some(52)),
        (900, 29, Some(69)),
        (1_000, 29, None),
    ] {
        let told = progress(used, 0, day).under_used_near_end().map(|nanos| nanos.0);
        assert_eq!(told, expected, "{used} on day {day}");
    }
}
