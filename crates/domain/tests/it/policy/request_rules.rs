//! The tests of `domain::policy::request_rules`.

use domain::{ParameterRule, RequestRules, Thousandths};

#[test]
fn a_value_outside_is_moved_or_refused() {
    let [least, most] = [0.1, 1.0].map(Thousandths::of);
    let rule = |clamps| ParameterRule { name: "temperature".into(), default: None, least, most, clamps };
    for (value, clamped, kept) in [(0.5, 0.5, Some(0.5)), (1.5, 1.0, None), (0.0, 0.1, None)] {
        let value = Thousandths::of(value).unwrap();
        assert_eq!(rule(true).fit(value), Thousandths::of(clamped));
        assert_eq!(rule(false).fit(value), kept.and_then(Thousandths::of));
    }
    assert_eq!(Thousandths::of(f64::NAN), None);
    assert_eq!(Thousandths::of(0.7).unwrap().to_string(), "0.7");
}

#[test]
fn tools_are_allowed_by_name_or_pattern() {
    let rules = RequestRules { tools: Some(vec!["search_*".into(), "sum".into()]), ..Default::default() };
    assert!(rules.allows_tool("search_web") && rules.allows_tool("sum"));
    assert!(!rules.allows_tool("summarise") && rules.allows_hosted_tool("web_search"));
}
