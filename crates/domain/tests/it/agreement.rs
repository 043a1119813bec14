//! The tests of `domain::agreement`.

use domain::{AgreedLimits, Agreement, Retention};

#[test]
fn reserved_units_pace_by_what_they_are_stated_to_be_worth() {
    let of = |tokens_per_minute, reserved_units, tokens_per_minute_per_unit| {
        let stated = AgreedLimits { tokens_per_minute, reserved_units, ..AgreedLimits::default() };
        AgreedLimits { tokens_per_minute_per_unit, ..stated }.paced_tokens_per_minute()
    };
    assert_eq!(of(None, Some(50), None), None, "nothing is guessed");
    assert_eq!(of(None, Some(50), Some(2_500)), Some(125_000));
    assert_eq!(of(Some(100_000), Some(50), Some(2_500)), Some(100_000));
    assert_eq!(of(Some(200_000), Some(50), Some(2_500)), Some(125_000));
    assert_eq!(of(Some(7), None, None), Some(7));
    assert_eq!(of(None, Some(u64::MAX), Some(2)), Some(u64::MAX));
}

#[test]
fn what_differs_is_named() {
    let (retention, compliance) = (Some(Retention::Zero), vec!["hipaa".into()]);
    let stated = Agreement { retention, compliance, ..Agreement::default() };
    assert_eq!(stated.changed(&Agreement::default()), ["retention", "compliance"]);
    assert!(stated.changed(&stated).is_empty());
    assert_ne!(Retention::Zero, Retention::Days(0));
}
