//! The tests of `domain::retention`.

use domain::{ContentRetention, Retention, TraceId, TraceMode};

#[test]
fn a_request_keeps_no_more_than_its_project() {
    let (metadata, tokenized, full) = (TraceMode::Metadata, TraceMode::Tokenized, TraceMode::FullFidelity);
    let request = TraceId::new(1, [0; 10]);
    for (mode, wish, expected) in [
        (full, None, full),
        (full, Some(tokenized), tokenized),
        (full, Some(metadata), metadata),
        (tokenized, Some(full), tokenized),
        (metadata, Some(full), metadata),
    ] {
        let profile = ContentRetention { mode, ..ContentRetention::NOTHING };
        assert_eq!(profile.of_request(request, wish), expected, "{mode:?} {wish:?}");
    }
    for mode in TraceMode::ALL {
        assert_eq!(TraceMode::from_name(mode.as_str()), Some(mode));
    }
}

#[test]
fn about_as_many_are_kept_as_are_drawn() {
    let profile = ContentRetention { mode: TraceMode::FullFidelity, days: 1, sample_percent: 25 };
    let request = |number: u32| {
        let mut random = [0; 10];
        random[6..].copy_from_slice(&number.wrapping_mul(0x9e37_79b9).to_be_bytes());
        TraceId::new(1, random)
    };
    let kept = (0..10_000).filter(|one| profile.of_request(request(*one), None) == TraceMode::FullFidelity);
    let kept = kept.count();
    assert!((2_300..2_700).contains(&kept), "{kept}");
    let never = ContentRetention { sample_percent: 0, ..profile };
    assert_eq!(never.of_request(request(1), None), TraceMode::Metadata);
    assert_eq!(never.of_request(request(1), Some(TraceMode::FullFidelity)), TraceMode::FullFidelity);
}

#[test]
fn who_agreed_to_less_keeps_it() {
    for (most, agreed, is_kept) in [
        (Retention::Zero, Some(Retention::Zero), true),
        (Retention::Zero, Some(Retention::Days(1)), false),
        (Retention::Zero, None, false),
        (Retention::Days(7), Some(Retention::Zero), true),
        (Retention::Days(7), Some(Retention::Days(7)), true),
        (Retention::Days(7), Some(Retention::Days(8)), false),
        (Retention::Days(7), None, false),
    ] {
        assert_eq!(most.is_kept_by(agreed), is_kept, "{most:?} {agreed:?}");
    }
}
