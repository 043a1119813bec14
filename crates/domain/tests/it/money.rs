//! The tests of `domain::money`.

use domain::money::{round_half_even, with_markup};
use domain::{Nanos, Price, Rates, UnitRates, Units, Usage};
use proptest::prelude::*;

#[test]
fn a_tie_goes_to_the_even_neighbour() {
    for (value, rounded) in [(2_500, 2), (3_500, 4), (2_501, 3), (2_499, 2), (-2_500, -2), (-3_500, -4)] {
        assert_eq!(round_half_even(value, 1_000), rounded, "{value}");
    }
}

#[test]
fn amounts_are_read_as_dollars() {
    let micros = [0, 72, 400_000, 999_999, 1_234_500, 1_235_000, 25_000_000, -500_000];
    let texts = micros.map(|micros| Nanos(micros * 1_000).to_string());
    let expected = ["$0.00", "$0.000072", "$0.40", "$0.999999", "$1.23", "$1.24", "$25.00", "-$0.50"];
    assert_eq!(texts, expected);
    assert_eq!(Nanos(1).to_string(), "$0.00");
    assert_eq!(Nanos(i64::MIN).to_string(), "-$9223372036.85");
}

#[test]
fn cached_reads_have_their_own_price() {
    // gpt-4o-mini's shape: 0.15 USD in, 0.075 cached, 0.60 out for a million tokens.
    let (input, output, cached_read) = (Price(150_000), Price(600_000), Some(Price(75_000)));
    let rates = Rates { input, output, cached_read, ..Rates::default() };
    let usage = Usage { input: 1_000, cached_read: 1_024, output: 10, ..Usage::default() };
    assert_eq!(rates.cost(&usage), Nanos(150_000 + 76_800 + 6_000));
}

#[test]
fn markup_is_in_basis_points() {
    assert_eq!(with_markup(Nanos(1_000), 250), Nanos(1_025));
    assert_eq!(with_markup(Nanos(1_000), 0), Nanos(1_000));
}

#[test]
fn a_unit_has_the_price_that_is_told_of_it() {
    let units = UnitRates {
        image: Some(Price::of_one(40_000)),
        audio_ms: Some(Price::of_minute(6_000)),
        search: Some(Price::of_thousand(2_000_000)),
        character: Some(Price(15_000_000)),
        billed: Some(Price(3_000)),
        video_ms: Some(Price::of_second(100_000)),
        cache_token_hour: Some(Price(1_000_000)),
        ..UnitRates::default()
    };
    let rates = Rates { units, ..Rates::default() };
    let used = |units| rates.cost(&Usage { units, ..Usage::default() });
    assert_eq!(used(Units { images: 2, ..Units::default() }), Nanos(80_000_000));
    assert_eq!(used(Units { audio_ms: 90_000, ..Units::default() }), Nanos(9_000_000));
    assert_eq!(used(Units { searches: 3, ..Units::default() }), Nanos(6_000_000));
    assert_eq!(used(Units { characters: 4_096, ..Units::default() }), Nanos(61_440_000));
    assert_eq!(used(Units { billed: 1_050_000, ..Units::default() }), Nanos(3_150_000));
    assert_eq!(used(Units { video_ms: 8_000, ..Units::default() }), Nanos(800_000_000));
    assert_eq!(used(Units { cache_token_hours: 342, ..Units::default() }), Nanos(342_000));
    assert_eq!(units.video_ms.map(Price::for_second), Some(100_000));
    let prices = [units.image.map(Price::for_one), units.audio_ms.map(Price::for_minute)];
    assert_eq!(prices, [Some(40_000), Some(6_000)]);
    assert_eq!(units.search.map(Price::for_thousand), Some(2_000_000));
}

#[test]
fn a_price_of_tokens_or_of_the_unit_is_enough_and_another_unit_s_is_none() {
    let image = Units { images: 1, ..Units::default() };
    let by_image = UnitRates { image: Some(Price(1)), ..UnitRates::default() };
    let tokens = Rates { input: Price(5), ..Rates::default() };
    let of_units = |units| Rates { units, ..Rates::default() };
    let used = |input, units| Usage { input, units, ..Usage::default() };
    assert!([0, 7].iter().all(|input| of_units(by_image).has_price_for(&used(*input, image))));
    assert!(tokens.has_price_for(&used(7, image)) && !tokens.has_price_for(&used(0, image)));
    assert!(!of_units(by_image).has_price_for(&used(7, Units::default())), "tokens have no price there");
    assert!(!of_units(by_image).has_price_for(&used(0, Units { searches: 1, ..Units::default() })));
    assert!(Rates::default().has_price_for(&used(7, Units::default())), "a price of nothing is one");
}

#[test]
fn tokens_of_pictures_and_sound_have_their_own_prices_or_those_of_text() {
    let units = UnitRates { image_out: Some(Price(40)), ..UnitRates::default() };
    let rates = Rates { input: Price(5_000), output: Price(10_000), units, ..Rates::default() };
    let used = Units { image_in: 1, image_out: 1_000, audio_in: 2, audio_out: 3, ..Units::default() };
    let lines = rates.lines(&Usage { units: used, ..Usage::default() });
    let priced: Vec<_> = lines.iter().map(|line| (line.class, line.price.0, line.nanos.0)).collect();
    let expected =
        [("audio_in", 5_000, 10), ("audio_out", 10_000, 30), ("image_in", 5_000, 5), ("image_out", 40, 40)];
    assert_eq!(priced, expected);
    assert!(lines.iter().all(|line| !line.is_unit));
    // Pictures that a model sees in a conversation cost what its text does; sound and what it draws do not.
    let each = |audio_in, audio_out, image_in, image_out| {
        let sound = Units { audio_in, audio_out, ..Units::default() };
        Units { image_in, image_out, ..sound }
    };
    assert!(rates.has_price_for_media(&each(0, 0, 1, 1)) && rates.has_price_for_media(&Units::default()));
    assert!(!rates.has_price_for_media(&each(1, 0, 0, 0)) && !rates.has_price_for_media(&each(0, 1, 0, 0)));
    assert!(!Rates::default().has_price_for_media(&each(0, 0, 0, 1)));
}

proptest! {
    #[test]
    fn cost_is_the_sum_of_its_lines_and_never_negative(
        input in 0_u64..1 << 40, cached in 0_u64..1 << 40, output in 0_u64..1 << 40,
        price in 0_u64..100_000_000, out_price in 0_u64..100_000_000,
    ) {
        let rates = Rates { input: Price(price), output: Price(out_price), ..Rates::default() };
        let usage = Usage { input, cached_read: cached, output, ..Usage::default() };
        let sum: Nanos = rates.lines(&usage).iter().map(|l| l.nanos).sum();
        prop_assert_eq!(rates.cost(&usage), sum);
        prop_assert!(sum.0 >= 0);
    }

    #[test]
    fn rounding_is_off_by_at_most_half(value in -1_i128 << 90..1_i128 << 90) {
        let rounded = round_half_even(value, 1_000) * 1_000;
        prop_assert!((rounded - value).abs() <= 500);
    }
}

/// What is owed and what own providers bill: Usage shows the second as the rest of what is spent, and Billing by itself.
#[test]
fn a_sum_and_its_part_leave_the_same_rest_wherever_it_is_shown() {
    let mut differed = 0;
    let owns = |owed: i64| (0..4_000).step_by(41).map(move |own| (owed, own));
    for (owed, own) in (0..4_000).step_by(37).flat_map(owns) {
        let (owed, own) = (Nanos(owed), Nanos(own));
        let (spent, rounded_once) = (owed.plus(own).micros_beside(owed), owed.plus(own).micros());
        assert_eq!(spent - owed.micros(), own.micros(), "{owed:?} {own:?}");
        assert!((spent - rounded_once).abs() <= 1, "{owed:?} {own:?}");
        differed += i64::from(spent != rounded_once);
    }
    assert!(differed > 0, "sums that are rounded once leave another rest");
    assert_eq!((Nanos(-1_500).micros_beside(Nanos(-700)), Nanos(700).micros_beside(Nanos(700))), (-2, 1));
}
