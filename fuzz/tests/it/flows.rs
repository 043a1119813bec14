//! Fuzzes the documents of flows, and their expressions and templates.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use bolero::check;
use flows::{
    Expression, Flow, Names, Outcome, STEPS_MAX, Schedule, Template, VALUE_BYTES_MAX, Work, compile,
    evaluate, read,
};
use serde_json::{Value, json};

use crate::material::fuzz;

/// What expressions may read here: the same value under each name.
struct Same(Value);

impl Names for Same {
    fn named(&self, _name: &str) -> Option<Cow<'_, Value>> {
        Some(Cow::Borrowed(&self.0))
    }
}

/// Runs a flow whose steps all complete, each map and loop with two iterations; returns how many ended.
fn run(flow: Flow) -> usize {
    let flow = Arc::new(flow);
    let (mut schedule, decided) = Schedule::resume(Arc::clone(&flow), &[]);
    let mut ended = decided.len();
    let mut work = VecDeque::new();
    loop {
        work.extend(std::iter::from_fn(|| schedule.next_work()));
        match work.pop_front() {
            Some(Work::Step(step) | Work::Iteration(step, _)) if schedule.outcome(step).is_none() => {
                ended += 1 + schedule.ended(step, Outcome::Completed).len();
            }
            Some(_) => {}
            None => return ended,
        }
    }
}

#[test]
fn fuzz_flow_document() {
    fuzz("flow_document", check!(), |bytes| {
        let Some(document) = std::str::from_utf8(bytes).ok().and_then(|text| read(text).ok()) else {
            return false;
        };
        match compile(&document) {
            Ok(flow) => {
                assert_eq!(
                    read(&document.to_string()).as_ref(),
                    Ok(&document),
                    "what is written is read alike"
                );
                let steps = flow.steps.len();
                assert!(steps <= STEPS_MAX);
                assert_eq!(run(flow), steps, "each step ends once");
                true
            }
            Err(errors) => {
                assert!((1..=100).contains(&errors.len()), "{}", errors.len());
                false
            }
        }
    });
}

#[test]
fn fuzz_flow_expression() {
    let names =
        Same(json!({"name": "é", "count": 3, "list": [1, 2.5, "x", null], "a": {"output": {"b": true}}}));
    fuzz("flow_expression", check!(), |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return false };
        let Ok(expression) = Expression::parse(text) else { return false };
        assert!(expression.names().all(|name| text.contains(name)));
        if let Ok(value) = evaluate(&expression, &names) {
            assert!(value.to_string().len() <= VALUE_BYTES_MAX);
            assert_eq!(evaluate(&expression, &names).as_ref(), Ok(&value), "it has one value");
        }
        true
    });
}

#[test]
fn fuzz_flow_template() {
    let names = Same(json!({"name": "x".repeat(1_000)}));
    fuzz("flow_template", check!(), |bytes| {
        let Ok(value) = serde_json::from_slice::<Value>(bytes) else { return false };
        let Ok(template) = Template::parse(&value, "") else { return false };
        let mut found = Vec::new();
        template.names(&mut found);
        if let Ok(filled) = template.fill(&names) {
            assert!(filled.to_string().len() <= 2 * VALUE_BYTES_MAX);
            assert!(!found.is_empty() || bytes.windows(2).any(|two| two == b"{{") || filled == value);
        }
        true
    });
}
