//! The tests of `domain::conditions`.

use domain::{ConditionFacts, RequestTraits, RouteConditions, TimeWindow, Weekdays};

const MINUTE_MS: u64 = 60_000;

/// Tuesday, 24 November 2026, 00:00 UTC.
const TUESDAY_MS: u64 = 1_795_478_400_000;

fn window(days: &[&str], from: u16, to: u16, offset: i16) -> TimeWindow {
    TimeWindow::new(Weekdays::named(days.iter().copied()).unwrap(), from, to, offset).unwrap()
}

#[test]
fn a_window_is_in_its_own_time_and_may_pass_midnight() {
    let at = |hour: u64, minute: u64| TUESDAY_MS + (hour * 60 + minute) * MINUTE_MS;
    let office = window(&["tue"], 9 * 60, 17 * 60, 0);
    let east = window(&["tue"], 9 * 60, 17 * 60, 120);
    let night = window(&["mon"], 22 * 60, 6 * 60, 0);
    let whole = window(&["tue"], 0, 24 * 60, 0);
    for (window, hour, minute, is_in) in [
        (office, 8, 59, false),
        (office, 9, 0, true),
        (office, 16, 59, true),
        (office, 17, 0, false),
        (east, 6, 59, false),
        (east, 7, 0, true),
        (east, 15, 0, false),
        (night, 5, 59, true),
        (night, 6, 0, false),
        (night, 22, 0, false),
        (whole, 0, 0, true),
        (whole, 23, 59, true),
        (whole, 24, 0, false),
    ] {
        assert_eq!(window.contains(at(hour, minute)), is_in, "{window:?} at {hour}:{minute}");
    }
    assert!(night.contains(TUESDAY_MS - 2 * 60 * MINUTE_MS));
    // West of UTC it is still Monday.
    let west = window(&["mon"], 0, 0, -300);
    assert!(west.contains(at(4, 59)) && !west.contains(at(5, 0)));
}

#[test]
fn a_window_that_never_is_can_not_be_made() {
    let every = Weekdays::EVERY;
    assert_eq!(TimeWindow::new(Weekdays::named([]).unwrap(), 0, 0, 0), None);
    assert_eq!(TimeWindow::new(every, 1440, 0, 0), None);
    assert_eq!(TimeWindow::new(every, 0, 1441, 0), None);
    assert_eq!(TimeWindow::new(every, 0, 60, 14 * 60 + 1), None);
    assert_eq!(Weekdays::named(["mon", "someday"]), None);
    assert_eq!(Weekdays::named(["sun", "mon"]).unwrap().names(), ["mon", "sun"]);
}

#[test]
fn every_condition_must_hold() {
    let (metadata, end_user) = (vec![("team".into(), "search".into())], Some("u-1".into()));
    let traits = RequestTraits { has_tools: true, metadata, end_user };
    let facts = ConditionFacts { prompt_tokens: 500, unix_ms: TUESDAY_MS, traits: Some(&traits) };
    let all = RouteConditions {
        prompt_tokens_min: Some(500),
        prompt_tokens_max: Some(500),
        has_tools: Some(true),
        time: Some(window(&["tue"], 0, 60, 0)),
        metadata: vec![("team".into(), "search".into())],
        end_user: Some("u-1".into()),
    };
    assert!(all.matched(&facts).is_some());
    let changes: [fn(&mut RouteConditions); 6] = [
        |when| when.prompt_tokens_min = Some(501),
        |when| when.prompt_tokens_max = Some(499),
        |when| when.has_tools = Some(false),
        |when| when.time = Some(window(&["wed"], 0, 60, 0)),
        |when| when.metadata.push(("tier".into(), "gold".into())),
        |when| when.end_user = Some("u-2".into()),
    ];
    for (number, change) in changes.iter().enumerate() {
        let mut when = all.clone();
        change(&mut when);
        assert_eq!(when.matched(&facts), None, "{number}");
    }
    let unread = ConditionFacts { traits: None, ..facts };
    assert_eq!(all.matched(&unread), None, "what was not read does not hold");
    let none = RouteConditions::default();
    assert!(none.matched(&facts) < all.matched(&facts));
}

#[test]
fn what_two_routes_both_meet_is_ambiguous() {
    let size = |prompt_tokens_min, prompt_tokens_max| RouteConditions {
        prompt_tokens_min,
        prompt_tokens_max,
        ..RouteConditions::default()
    };
    let time = |from, to| Some(window(&["mon"], from, to, 0));
    let time = |from, to| RouteConditions { time: time(from, to), ..RouteConditions::default() };
    let metadata = |entries: &[(&str, &str)]| RouteConditions {
        metadata: entries.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        ..RouteConditions::default()
    };
    let tools = |has| RouteConditions { has_tools: Some(has), ..RouteConditions::default() };
    for (one, two, is_ambiguous) in [
        (size(None, Some(1000)), size(Some(1001), None), false),
        (size(None, Some(1000)), size(Some(1000), None), true),
        (size(None, Some(1000)), tools(true), false),
        (tools(true), tools(false), false),
        (time(0, 60), time(60, 120), false),
        (time(0, 61), time(60, 120), true),
        (metadata(&[("a", "1")]), metadata(&[("a", "2")]), false),
        (metadata(&[("a", "1")]), metadata(&[("b", "1")]), true),
        (metadata(&[("a", "1")]), metadata(&[("a", "1"), ("b", "1")]), false),
    ] {
        assert_eq!(one.is_ambiguous_with(&two), is_ambiguous, "{one:?} and {two:?}");
        assert_eq!(two.is_ambiguous_with(&one), is_ambiguous, "{two:?} and {one:?}");
        assert!(one.text() != two.text());
    }
}
