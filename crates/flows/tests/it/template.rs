//! Templates, filled and refused.

use flows::Template;
use serde_json::{Value, json};

use crate::functions::Of;

#[expect(clippy::needless_pass_by_value, reason = "cases are written in place")]
fn check(value: Value) -> Result<Value, String> {
    let names = Of(json!({"input": {"n": 7, "text": "hi", "list": [1, 2], "none": null}}));
    let template = Template::parse(&value, "/value").map_err(|errors| format!("{errors:?}"))?;
    template.fill(&names).map_err(|error| error.to_string())
}

#[test]
fn a_whole_expression_keeps_its_type_and_one_in_a_text_becomes_text() {
    for (value, expected) in [
        (json!("{{input.n}}"), json!(7)),
        (json!("{{ input.list }}"), json!([1, 2])),
        (json!("n is {{input.n}}, {{input.text}}{{input.none}}!"), json!("n is 7, hi!")),
        (json!("{{ {'a': {'b': input.n}} }}"), json!({"a": {"b": 7}})),
        (json!("{{ '}}' + input.text }}"), json!("}}hi")),
        (json!({"a": ["{{input.n}}", 2], "b": null}), json!({"a": [7, 2], "b": null})),
        (json!("no { braces }"), json!("no { braces }")),
    ] {
        assert_eq!(check(value.clone()), Ok(expected), "{value}");
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let errors = Template::parse(&json!({"a/b": ["{{1 +}}", "{{x"]}), "/steps/s").unwrap_err();
    let places: Vec<_> = errors.iter().map(|(pointer, _)| pointer.as_str()).collect();
    assert_eq!(places, ["/steps/s/a~1b/0", "/steps/s/a~1b/1"]);
    let mut deep = json!(1);
    for _ in 0..40 {
        deep = json!([deep]);
    }
    assert!(check(deep).unwrap_err().contains("nested"));
    assert!(check(json!("{{input.gone}}")).unwrap_err().contains("no field"));
}

/// Each may do as much as an expression may; however many there are, and in whatever form, all of them together may do no more.
#[test]
fn many_expressions_together_do_no_more_than_one_may() {
    let within = "size([1, 2, 3, 4, 5, 6, 7, 8, 9].map(a, [1, 2, 3, 4, 5, 6, 7, 8, 9].map(b, a + b)))";
    let one = format!("{{{{ {within} }}}}");
    assert_eq!(check(json!(one)), Ok(json!(9)));
    let many = 6_000;
    for all in [
        json!(vec![&one; many]),
        json!(one.repeat(many)),
        Value::Object((0..many).map(|index| (format!("m{index}"), json!(one))).collect()),
        json!(vec![json!({"a": [&one]}); many]),
    ] {
        assert!(check(all).unwrap_err().contains("all of a step together"));
    }
}
