//! The tests of `domain::allowance`.

use domain::Period;
use proptest::prelude::*;

fn check(period: Period, unix_s: u64, start_s: u64, end_s: u64) {
    let start = period.start(unix_s * 1_000);
    assert_eq!((start, period.end(start)), (start_s * 1_000, Some(end_s * 1_000)), "{period:?} {unix_s}");
}

#[test]
fn periods_begin_at_midnight_utc() {
    // 2024-02-29 12:00:00, a Thursday in a leap year.
    let noon = 1_709_208_000;
    check(Period::Day, noon, 1_709_164_800, 1_709_251_200);
    check(Period::Week, noon, 1_708_905_600, 1_709_510_400);
    check(Period::Month, noon, 1_706_745_600, 1_709_251_200);
    // 2023-12-31 23:59:59, a Sunday.
    check(Period::Month, 1_704_067_199, 1_701_388_800, 1_704_067_200);
    check(Period::Week, 1_704_067_199, 1_703_462_400, 1_704_067_200);
    check(Period::Week, 1, 0, 4 * 86_400);
    assert_eq!((Period::Ever.start(5), Period::Ever.end(0)), (0, None));
    check(Period::Quarter, noon, 1_704_067_200, 1_711_929_600);
    check(Period::Quarter, 1_704_067_199, 1_696_118_400, 1_704_067_200);
    check(Period::Year, noon, 1_704_067_200, 1_735_689_600);
    check(Period::Year, 1_704_067_199, 1_672_531_200, 1_704_067_200);
}

proptest! {
    #[test]
    fn each_moment_is_in_one_period_and_periods_touch(unix_ms in 0_u64..4_102_444_800_000) {
        for period in [Period::Day, Period::Week, Period::Month, Period::Quarter, Period::Year] {
            let start = period.start(unix_ms);
            let end = period.end(start).unwrap();
            prop_assert!(start <= unix_ms && unix_ms < end);
            prop_assert_eq!(period.start(start), start);
            prop_assert_eq!(period.start(end - 1), start);
            prop_assert_eq!(period.start(end), end);
        }
    }
}
