//! The values of expressions.

use std::borrow::Cow;

use flows::{EvaluationError, Expression, Names, evaluate};
use serde_json::{Value, json};

pub struct Of(pub Value);

impl Names for Of {
    fn named(&self, name: &str) -> Option<Cow<'_, Value>> {
        self.0.get(name).map(Cow::Borrowed)
    }
}

fn check(source: &str) -> Result<Value, EvaluationError> {
    let names = Of(json!({
        "input": {"n": 7, "f": 2.5, "text": "Ab c", "list": [3, 1, 2], "none": null, "of": {"x": 1, "y": 2}},
        "a": {"output": {"words": ["x", "y"]}},
        "large": (0..2_000).collect::<Vec<_>>(),
    }));
    evaluate(&Expression::parse(source).unwrap(), &names)
}

#[test]
fn an_expression_has_the_value_that_the_language_says() {
    for (source, expected) in [
        ("input.n + 1", json!(8)),
        ("input.n / 2", json!(3)),
        ("input.n % 4 * 2 - 1", json!(5)),
        ("input.n * input.f", json!(17.5)),
        ("-input.n", json!(-7)),
        ("input.n > 6 && input.text.startsWith('Ab')", json!(true)),
        ("!(input.n == 7.0) || false", json!(false)),
        ("input.n != 7", json!(false)),
        ("input.n in [1, 7]", json!(true)),
        ("'x' in input.of", json!(true)),
        ("input.list.map(x, x * 2)", json!([6, 2, 4])),
        ("input.list.filter(x, x > 1).map(x, {'v': x})", json!([{"v": 3}, {"v": 2}])),
        ("input.list.exists(x, x == 2)", json!(true)),
        ("input.list.all(x, x > 1)", json!(false)),
        ("input.list.exists_one(x, x == 3)", json!(true)),
        ("input.of.map(k, k)", json!(["x", "y"])),
        ("has(input.none)", json!(false)),
        ("has(input.n) ? 'yes' : 'no'", json!("yes")),
        ("has(input.other)", json!(false)),
        ("steps.a.output.words[1] + a.output.words[0]", json!("yx")),
        ("a.output.words.join(', ')", json!("x, y")),
        ("size(input.text) + input.text.size()", json!(8)),
        ("input.text.upperAscii()", json!("AB C")),
        ("input.text.split(' ')", json!(["Ab", "c"])),
        ("input.text.replace('b', 'xx')", json!("Axx c")),
        ("string(input.n) + 'x'", json!("7x")),
        ("int('12') + int(2.9)", json!(14)),
        ("double('1.5')", json!(1.5)),
        ("json(input.of)", json!("{\"x\":1,\"y\":2}")),
        ("parseJson('[1]')[0]", json!(1)),
        ("type(input.list)", json!("list")),
        ("input['n']", json!(7)),
        ("input.other == 1 || true", json!(true)),
        ("[1, 2] + [3]", json!([1, 2, 3])),
        ("'b' > 'a'", json!(true)),
    ] {
        assert_eq!(check(source), Ok(expected), "{source}");
    }
}

#[test]
fn what_has_no_value_says_why() {
    for (source, part) in [
        ("input.other", "no field"),
        ("input.n.x", "isn't an object"),
        ("input.n + 'x'", "(int, string)"),
        ("1 / 0", "zero"),
        ("9223372036854775807 + 1", "too large"),
        ("input.n ? 1 : 2", "condition"),
        ("input.list[9]", "nothing at this place"),
        ("input.n.map(x, x)", "gone through"),
        ("nobody", "has no value"),
        ("parseJson('{')", "isn't JSON"),
        ("unheard(1)", "unheard"),
    ] {
        match check(source) {
            Err(EvaluationError::Wrong(text)) => assert!(text.contains(part), "{source}: {text}"),
            other => panic!("{source}: {other:?}"),
        }
    }
}

#[test]
fn an_expression_that_would_not_end_is_ended() {
    let doubled = |times: usize| {
        let step = ".map(x, x + x)".repeat(times);
        format!("['0123456789']{step}")
    };
    for source in [
        "large.map(a, large.map(b, large.map(c, a + b + c)))".to_owned(),
        "large.all(a, large.all(b, large.all(c, a + b + c >= 0)))".to_owned(),
        "large.exists(a, large.exists(b, large.exists(c, c < 0))) || true".to_owned(),
        doubled(25),
        "large.map(a, large)".to_owned(),
    ] {
        assert_eq!(check(&source), Err(EvaluationError::TooLong), "{source}");
    }
}
