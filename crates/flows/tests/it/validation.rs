//! Documents compiled, and their errors with their places.

use flows::compile;
use serde_json::{Value, json};

#[expect(clippy::needless_pass_by_value, reason = "cases are written in place")]
fn flow(steps: Value) -> Value {
    json!({"name": "f", "steps": steps})
}

#[test]
fn needs_are_found_in_expressions_and_layers_by_them() {
    let document = json!({
        "name": "f", "input": {"type": "object", "required": ["n"]},
        "steps": {
            "c": {"kind": "merge", "needs": ["a", "b"]},
            "a": {"kind": "expression", "expression": "input.n"},
            "b": {"kind": "app", "app": "m", "input": {"prompt": "{{a.output}} {{steps.a.output}}"}, "when": "a.output > 1"},
            "d": {"kind": "map", "over": "[1]", "step": {"kind": "tool", "tool": "t", "input": {"x": "{{item}} {{c.output}}"}}},
        },
    });
    let flow = compile(&document).unwrap();
    let found: Vec<_> =
        flow.steps.iter().map(|step| (step.name.as_str(), step.needs.clone(), step.depth)).collect();
    assert_eq!(found, [("c", vec![1, 2], 2), ("a", vec![], 0), ("b", vec![1], 1), ("d", vec![0], 3)]);
    assert!(flow.check_input(&json!({"n": 1})).is_ok());
    assert_eq!(flow.check_input(&json!({})).unwrap_err()[0].pointer, "");
}

#[test]
fn each_error_has_its_place() {
    let ok = json!({"kind": "constant", "value": 1});
    let with = |field: &str, value: Value| json!({"kind": "constant", "value": 1, field: value});
    let expression = |source: &str| json!({"kind": "expression", "expression": source});
    let app = |input: Value| json!({"kind": "app", "app": "m", "input": input});
    let wait = json!({"kind": "wait", "seconds": 1});
    for (document, pointer, part) in [
        (json!({"steps": {"a": ok}}), "", "name"),
        (flow(json!({})), "/steps", "less than 1 property"),
        (flow(json!({"a b": ok})), "/steps", ""),
        (flow(json!({"a": {"kind": "other"}})), "/steps/a/kind", ""),
        (flow(json!({"a": {"kind": "constant"}})), "/steps/a", "value"),
        (flow(json!({"a": with("extra", json!(2))})), "/steps/a", "extra"),
        (flow(json!({"a": app(json!([]))})), "/steps/a/input", "object"),
        (flow(json!({"a": with("needs", json!(["b"]))})), "/steps/a/needs", "\"b\""),
        (flow(json!({"a": expression("b.output")})), "/steps/a/expression", "\"b\""),
        (flow(json!({"a": expression("1 +")})), "/steps/a/expression", "isn't an expression"),
        (flow(json!({"a": expression("a.output")})), "/steps/a", "itself"),
        (flow(json!({"input": ok})), "/steps/input", "another meaning"),
        (flow(json!({"a": {"kind": "wait"}})), "/steps/a", ""),
        (flow(json!({"a": {"kind": "loop", "limit": 0, "step": ok}})), "/steps/a/limit", ""),
        (flow(json!({"a": {"kind": "map", "over": "[1]", "step": wait}})), "/steps/a/step/kind", ""),
        (flow(json!({"a": app(json!({"x": ["{{y}}"]}))})), "/steps/a/input", "\"y\""),
        (flow(json!({"a": with("output", json!({"type": 3}))})), "/steps/a/output", "JSON Schema"),
        (
            flow(json!({"a": with("needs", json!(["b"])), "b": with("needs", json!(["a"]))})),
            "/steps/a",
            "itself",
        ),
    ] {
        let errors = compile(&document).unwrap_err();
        let is_found = errors.iter().any(|error| error.pointer == pointer && error.message.contains(part));
        assert!(is_found, "{document}: {errors:?}");
    }
}

#[test]
fn ten_thousand_steps_are_compiled_and_one_more_is_refused() {
    let steps = |count: usize| {
        let steps = (0..count).map(|place| {
            let expression = match place {
                0 => "0".to_owned(),
                place => format!("s{}.output + 1", place - 1),
            };
            (format!("s{place}"), json!({"kind": "expression", "expression": expression}))
        });
        flow(Value::Object(steps.collect()))
    };
    let compiled = compile(&steps(10_000)).unwrap();
    assert_eq!(compiled.steps.last().unwrap().depth, 9_999);
    assert_eq!(compile(&steps(10_001)).unwrap_err()[0].pointer, "/steps");
}

#[test]
fn what_a_step_makes_is_checked_by_its_schema() {
    let output = json!({"properties": {"n": {"type": "integer"}}});
    let document = flow(json!({"a": {"kind": "constant", "value": 1, "output": output}}));
    let compiled = compile(&document).unwrap();
    let step = &compiled.steps[0];
    assert!(step.check_output(&json!({"n": 1})).is_ok());
    assert_eq!(step.check_output(&json!({"n": "x"})).unwrap_err().pointer, "/n");
}
