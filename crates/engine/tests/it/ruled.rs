//! Constrained decoding: whatever a model of random weights generates, it satisfies the grammar constraint.

use engine::{Calls, Constraint, ConstraintSpec, FinishReason, Request, Thinking, Tool};
use prompts::Form;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde_json::{Value, json};

use crate::words::{Output, WORDS, all, one};

/// Random schemas, reproducible by seed.
struct Chance(ChaCha8Rng);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0.next_u64() % end
    }

    fn text(&mut self) -> Value {
        let patterns = ["^[a-z]{2,5}$", "^[A-Z][0-9]+$", "^(on|off)$", "^\\d{3}-\\d{2}$", "x"];
        match self.below(4) {
            0 => json!({"type": "string", "pattern": patterns[self.below(5) as usize], "maxLength": 12}),
            1 => json!({"type": "string", "minLength": self.below(4), "maxLength": 4 + self.below(8)}),
            2 => json!({"enum": ["red", "green", null, 7, ["a"]]}),
            _ => json!({"type": "string", "format": (["date", "uuid", "ipv4"][self.below(3) as usize])}),
        }
    }

    fn number(&mut self) -> Value {
        let least = self.below(200) as i64 - 100;
        let most = least + self.below(500) as i64;
        match self.below(4) {
            0 => json!({"type": "integer", "minimum": least, "maximum": most}),
            1 => json!({"type": "number", "exclusiveMinimum": least, "exclusiveMaximum": most + 1}),
            2 => json!({"type": "integer", "minimum": 0, "maximum": 1_000, "multipleOf": 1 + self.below(9)}),
            _ => json!({"type": ["integer", "boolean"], "minimum": least, "maximum": most}),
        }
    }

    fn object(&mut self, depth: u32) -> Value {
        let mut properties = serde_json::Map::new();
        let mut required = Vec::new();
        for name in ["id", "naïve \"one\"", "c/d", "next"].iter().take(1 + self.below(4) as usize) {
            properties.insert((*name).to_owned(), self.schema(depth + 1));
            if self.below(2) == 0 {
                required.push(*name);
            }
        }
        json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
    }

    fn schema(&mut self, depth: u32) -> Value {
        let last = if depth >= 3 { 4 } else { 8 };
        match self.below(last) {
            0 => self.text(),
            1 => self.number(),
            2 => json!({"$ref": "#/$defs/leaf"}),
            3 => {
                let constants = [json!(self.below(9)), json!("é\n"), json!({"k": true})];
                json!({"const": (constants[self.below(3) as usize])})
            }
            4 => {
                let least = self.below(3);
                json!({"type": "array", "items": self.schema(depth + 1), "minItems": least, "maxItems": least + self.below(3)})
            }
            5 => json!({"anyOf": [self.schema(depth + 1), self.schema(depth + 1)]}),
            _ => self.object(depth),
        }
    }

    fn whole(&mut self) -> Value {
        let mut schema = self.object(0);
        // A recursive schema.
        let tree = json!({
            "type": "object", "properties": {"of": {"type": "array", "items": {"$ref": "#/$defs/tree"}, "maxItems": 1}},
            "required": ["of"], "additionalProperties": false,
        });
        schema["$defs"] = json!({"leaf": self.text(), "tree": tree});
        if self.below(4) == 0 {
            schema["properties"]["tree"] = json!({"$ref": "#/$defs/tree"});
        }
        schema
    }
}

fn schemas() -> Vec<Value> {
    let mut chance = Chance(ChaCha8Rng::seed_from_u64(14));
    (0..200).map(|_| chance.whole()).collect()
}

fn under(rule: &Constraint, seed: u64, max_tokens: usize) -> Request {
    Request { constraint: Some(rule.clone()), ..WORDS.request("Write it: ", seed, max_tokens) }
}

#[test]
fn what_is_finished_is_valid() {
    let schemas = schemas();
    let rule = |schema: &Value| WORDS.rules.compile(ConstraintSpec::Schema(schema), Thinking::No).unwrap();
    let requests: Vec<Request> =
        schemas.iter().zip(0..).map(|(schema, seed)| under(&rule(schema), seed, 250)).collect();
    let mut finished = 0;
    for (output, schema) in all(&mut WORDS.runner(1_000, 12), &requests).iter().zip(&schemas) {
        if output.end == Some(FinishReason::Length) {
            assert_eq!(output.drawn.len(), 250);
            continue;
        }
        assert_eq!(output.end, Some(FinishReason::Stop), "{schema}");
        let text = WORDS.text(output);
        let value: Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} {text} {schema}"));
        let validator = jsonschema::options().should_validate_formats(true).build(schema).unwrap();
        assert!(validator.is_valid(&value), "{text} {schema}");
        finished += 1;
    }
    assert!(finished > 150, "{finished}");
}

#[test]
fn what_is_cut_says_so() {
    let rule = WORDS.rules.compile(ConstraintSpec::Object, Thinking::No).unwrap();
    for seed in 0..20 {
        let output = one(&mut WORDS.runner(100, 0), &under(&rule, seed, 3));
        let is_whole = serde_json::from_str::<Value>(&WORDS.text(&output)).is_ok();
        assert_eq!(output.end, Some(if is_whole { FinishReason::Stop } else { FinishReason::Length }));
    }
}

#[test]
fn a_rule_says_the_same_whatever_runs_beside_it() {
    let schemas = schemas();
    let rule = |schema| WORDS.rules.compile(ConstraintSpec::Schema(schema), Thinking::May).unwrap();
    let rules: Vec<Constraint> = schemas[..6].iter().map(rule).collect();
    // Two of each, and some without constraints.
    let mut requests: Vec<Request> =
        rules.iter().chain(&rules).zip(0..).map(|(rule, seed)| under(rule, seed, 60)).collect();
    requests.extend((20..24).map(|seed| WORDS.request("Free: ", seed, 60)));
    for request in &mut requests[3..6] {
        let sampling = &mut request.sampling;
        (sampling.logprobs, sampling.top_p) = (Some(3), 0.9);
        (sampling.repetition_penalty, sampling.frequency_penalty) = (1.2, 0.3);
    }
    let alone: Vec<Output> = requests.iter().map(|request| one(&mut WORDS.runner(100, 0), request)).collect();
    assert_eq!(all(&mut WORDS.runner(400, 0), &requests), alone);
    // With so little memory that they are preempted again and again while constrained.
    let mut tight = WORDS.runner(12, 0);
    assert_eq!(all(&mut tight, &requests), alone);
    assert!(tight.counts().preemptions > 0);
    assert_eq!(tight.free_blocks(), 12);
}

#[test]
fn how_likely_it_was_is_told_among_what_was_allowed() {
    let rule = WORDS.rules.compile(ConstraintSpec::Expression("[ab]{8}"), Thinking::No).unwrap();
    let mut request = under(&rule, 3, 20);
    request.sampling.logprobs = Some(2);
    let output = one(&mut WORDS.runner(100, 0), &request);
    for drawn in &output.drawn {
        let all: f32 = drawn.others.iter().map(|(_, logprob)| logprob.exp()).sum();
        assert!((all - 1.0).abs() < 1e-4, "{drawn:?}");
    }
}

fn tools() -> Vec<Tool> {
    let look = json!({
        "type": "object", "required": ["query", "count"], "additionalProperties": false,
        "properties": {
            "query": {"type": "string", "minLength": 1, "maxLength": 6}, "count": {"type": "integer", "minimum": 1, "maximum": 9},
            "order": {"enum": ["new", "old"]}, "deep": {"type": "object", "properties": {"x": {"type": "boolean"}}, "required": ["x"], "additionalProperties": false},
        },
    });
    vec![Tool { name: "look".into(), schema: Some(look) }, Tool { name: "stop".into(), schema: None }]
}

/// The tool calls of a text, parsed independently of the engine.
fn read(form: Form, text: &str) -> Vec<(String, Value)> {
    let calls = text.split("<tool_call>\n").skip(1);
    let calls = calls.map(|call| call.trim_end().strip_suffix("\n</tool_call>").unwrap());
    let of_json = |call: &str| {
        let call: Value = serde_json::from_str(call).unwrap();
        (call["name"].as_str().unwrap().to_owned(), call["arguments"].clone())
    };
    let of_tags = |call: &str| {
        let (name, rest) = call.strip_prefix("<function=").unwrap().split_once(">\n").unwrap();
        let rest = rest.strip_suffix("</function>").unwrap();
        let mut arguments = serde_json::Map::new();
        for parameter in rest.split("<parameter=").skip(1) {
            let (name, value) = parameter.split_once(">\n").unwrap();
            let value = value.strip_suffix("\n</parameter>\n").unwrap();
            let is_text = name == "query" || name == "order";
            let value = if is_text { json!(value) } else { serde_json::from_str(value).unwrap() };
            assert!(arguments.insert(name.to_owned(), value).is_none());
        }
        (name.to_owned(), Value::Object(arguments))
    };
    match form {
        Form::Json => calls.map(of_json).collect(),
        Form::Tagged => calls.map(of_tags).collect(),
    }
}

#[test]
fn calls_that_are_asked_for_are_valid() {
    let schema = tools().remove(0).schema.unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for form in [Form::Json, Form::Tagged] {
        for (several, tools) in [(true, tools()), (false, tools().split_off(1))] {
            let calls = Calls { form, tools, several, or_text: false };
            let rule = WORDS.rules.compile(ConstraintSpec::Calls(&calls), Thinking::No).unwrap();
            let requests: Vec<Request> = (0..40).map(|seed| under(&rule, seed, 400)).collect();
            let mut finished = 0;
            for output in all(&mut WORDS.runner(1_000, 12), &requests) {
                if output.end == Some(FinishReason::Length) {
                    continue;
                }
                let calls = read(form, &WORDS.text(&output));
                assert!(!calls.is_empty() && (several || calls.len() == 1));
                for (name, arguments) in calls {
                    match name.as_str() {
                        "look" => assert!(validator.is_valid(&arguments), "{arguments}"),
                        "stop" => assert_eq!(arguments, json!({})),
                        other => panic!("no tool has the name {other}"),
                    }
                }
                finished += 1;
            }
            assert!(finished > 30, "{form:?} {several} {finished}");
        }
    }
}

#[test]
fn what_leaves_no_choice_is_said_without_the_model() {
    let calls = Calls { form: Form::Json, tools: tools().split_off(1), several: false, or_text: false };
    let rule = WORDS.rules.compile(ConstraintSpec::Calls(&calls), Thinking::No).unwrap();
    let mut runner = WORDS.runner(100, 0);
    let output = one(&mut runner, &under(&rule, 1, 100));
    assert_eq!(output.end, Some(FinishReason::Stop));
    assert_eq!(runner.counts().rows, 0);
    assert!(output.drawn.iter().all(|drawn| drawn.logprob == 0.0));
    let cut = one(&mut runner, &under(&rule, 1, 5));
    assert_eq!((cut.end, cut.drawn.len()), (Some(FinishReason::Length), 5));
    assert_eq!(runner.free_blocks(), 100);
}
