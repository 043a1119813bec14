//! Constraints by themselves: which texts match them, and what is refused.

use domain::prompt::ToolChoice;
use prompts::Form;

use super::*;

fn rulebook() -> ConstraintCompiler {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokenizer.json");
    std::fs::write(&path, prompts::synthetic_tokenizer::tokenizer().to_string()).unwrap();
    ConstraintCompiler::new(Arc::new(Vocabulary::open(&path).unwrap())).unwrap()
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Is {
    Whole,
    /// It may go on, but not end here.
    Prefix,
    Wrong,
}

fn is(rulebook: &ConstraintCompiler, rule: &Constraint, text: &str) -> Is {
    let mut following = rule.follow();
    let end = rulebook.vocabulary.special_token_id("<|im_end|>").unwrap();
    for token in rulebook.vocabulary.tokens(text).unwrap() {
        if following.is_over() || !following.take(token) {
            return Is::Wrong;
        }
    }
    let may_end = following.is_over() || {
        let allowed = following.draft_masks(&[], &[end]).remove(0).unwrap();
        allowed.words()[end as usize / 32] >> (end % 32) & 1 == 1
    };
    if may_end { Is::Whole } else { Is::Prefix }
}

fn check(spec: ConstraintSpec<'_>, thinking: Thinking, texts: &[(&str, Is)]) {
    let rulebook = rulebook();
    let rule = rulebook.compile(spec, thinking).unwrap();
    for (text, wanted) in texts {
        assert_eq!(is(&rulebook, &rule, text), *wanted, "{spec:?} {text:?}");
    }
}

#[test]
fn what_is_json_of_a_schema_is_known() {
    let schema = json!({
        "type": "object", "properties": {"a": {"type": "integer"}, "b": {"$ref": "#/properties/a"}},
        "required": ["a"], "additionalProperties": false,
    });
    let texts = [
        (r#"{"a":1}"#, Is::Whole),
        ("{\n  \"a\": 1,\n  \"b\": 2\n}", Is::Whole),
        (r#"{"a":1"#, Is::Prefix),
        (r#"{"a":1,"c":2}"#, Is::Wrong),
        (r#"{"b":1}"#, Is::Wrong),
        (r#"{"a":1.5}"#, Is::Wrong),
        // No white space around the value, and no more than one space within it.
        (" {\"a\":1}", Is::Wrong),
        ("{\"a\":1}\n", Is::Wrong),
        ("{  \"a\":1}", Is::Wrong),
    ];
    check(ConstraintSpec::Schema(&schema), Thinking::No, &texts);
    let texts = [("{}", Is::Whole), (r#"{"a":[1,{"b":null}]}"#, Is::Whole), ("[]", Is::Wrong)];
    check(ConstraintSpec::Object, Thinking::No, &texts);
}

#[test]
fn a_name_can_not_be_spelt_otherwise() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}});
    let texts = [
        (r#"{"a":1,"b":"x"}"#, Is::Whole),
        (r#"{"\u0061":"x"}"#, Is::Wrong),
        (r#"{"a":1,"a":"x"}"#, Is::Wrong),
    ];
    check(ConstraintSpec::Schema(&schema), Thinking::No, &texts);
}

#[test]
fn what_was_thought_stands_before_it() {
    let texts = [
        ("<think>so {</think>\n\n{}", Is::Whole),
        ("{}", Is::Whole),
        ("<think>{}", Is::Prefix),
        ("so</think>{}", Is::Wrong),
    ];
    check(ConstraintSpec::Object, Thinking::May, &texts);
    let texts = [("so\n</think>\n\n{}", Is::Whole), ("{}", Is::Prefix)];
    check(ConstraintSpec::Object, Thinking::Open, &texts);
}

#[test]
fn expressions_and_grammars_are_kept_from_end_to_end() {
    let texts = [("12-ab/c", Is::Whole), ("12-", Is::Prefix), ("x12-a", Is::Wrong)];
    check(ConstraintSpec::Expression("[0-9]+-[a-z/]+"), Thinking::No, &texts);
    let texts = [("((x))", Is::Whole), ("((x)", Is::Prefix), ("(x))", Is::Wrong)];
    check(ConstraintSpec::Grammar("start: \"x\" | \"(\" start \")\""), Thinking::No, &texts);
}

fn tools() -> Vec<Tool> {
    let schema = json!({
        "type": "object", "required": ["query"],
        "properties": {
            "query": {"type": "string", "minLength": 1},
            "count": {"type": "integer", "minimum": 1, "maximum": 20},
            "order": {"enum": ["new", "old"]},
            "place": {"type": "string", "pattern": "^a|b$"},
        },
    });
    vec![Tool { name: "look".into(), schema: Some(schema) }, Tool { name: "stop".into(), schema: None }]
}

#[test]
fn calls_in_json_are_known() {
    let one = r#"{"name": "look", "arguments": {"query": "a", "count": 2}}"#;
    let call = format!("<tool_call>\n{one}\n</tool_call>");
    let two = format!("{call}\n<tool_call>\n{{\"name\": \"stop\", \"arguments\": {{}}}}\n</tool_call>");
    let calls = Calls { form: Form::Json, tools: tools(), several: true, or_text: false };
    let texts = [(call.as_str(), Is::Whole), (&two, Is::Whole), (one, Is::Wrong), ("", Is::Prefix)];
    check(ConstraintSpec::Calls(&calls), Thinking::No, &texts);
    let texts = [(call.as_str(), Is::Whole), (&two, Is::Wrong)];
    check(ConstraintSpec::Calls(&Calls { several: false, ..calls.clone() }), Thinking::No, &texts);
    let after = format!("Let me see.\n{call}");
    let texts = [(after.as_str(), Is::Whole), ("No.", Is::Whole), ("<tool_call>\n[", Is::Wrong)];
    check(ConstraintSpec::Calls(&Calls { or_text: true, ..calls }), Thinking::No, &texts);
}

#[test]
fn calls_in_tags_are_known() {
    let call =
        |parameters: &str| format!("<tool_call>\n<function=look>\n{parameters}</function>\n</tool_call>");
    let of = |name: &str, value: &str| format!("<parameter={name}>\n{value}\n</parameter>\n");
    let query = of("query", "any \"thing\" <b>\nat all");
    let whole = [String::new(), of("count", "20"), of("order", "old"), of("place", "ac"), of("place", "cb")];
    let wrong = [of("count", "21"), of("order", "odd"), of("place", "ca"), of("other", "1"), query.clone()];
    let calls = Calls { form: Form::Tagged, tools: tools(), several: true, or_text: false };
    let whole = whole.map(|more| (call(&format!("{query}{more}")), Is::Whole));
    let wrong = wrong.map(|more| (call(&format!("{query}{more}")), Is::Wrong));
    let bare = [(call(""), Is::Wrong), (call(&of("query", "")), Is::Wrong)];
    let texts: Vec<(String, Is)> = whole.into_iter().chain(wrong).chain(bare).collect();
    let texts: Vec<(&str, Is)> = texts.iter().map(|(text, wanted)| (text.as_str(), *wanted)).collect();
    check(ConstraintSpec::Calls(&calls), Thinking::May, &texts);
}

#[test]
fn a_choice_is_of_tools_that_are_there() {
    let chosen = |choice| Calls::chosen(&choice, &tools(), Form::Json, true);
    let names = |choice| -> Vec<String> {
        chosen(choice).unwrap().unwrap().tools.into_iter().map(|tool| tool.name).collect()
    };
    assert_eq!(chosen(ToolChoice::Auto), Ok(None));
    assert_eq!(names(ToolChoice::Required), ["look", "stop"]);
    let named = |name: &str| ToolChoice::Named { name: name.into(), is_custom: false };
    assert_eq!(names(named("stop")), ["stop"]);
    assert!(!chosen(named("stop")).unwrap().unwrap().several);
    assert_eq!(chosen(named("go")).unwrap_err().at, "/tool_choice");
    let allowed = ToolChoice::Allowed { names: vec!["look".into()], is_required: false };
    assert!(chosen(allowed).unwrap().unwrap().or_text);
}

#[test]
fn what_can_not_be_kept_is_refused_with_its_place() {
    let rulebook = rulebook();
    let within = |schema: Json| json!({"type": "object", "properties": {"a/b": {"items": schema}}});
    let at = "/properties/a~1b/items";
    for (schema, path) in [
        (json!({"not": {}}), "/not"),
        (json!({"if": {}}), "/if"),
        (json!({"uniqueItems": true}), "/uniqueItems"),
        (json!({"contains": {}}), "/contains"),
        (json!({"propertyNames": {}}), "/propertyNames"),
        (json!({"dependentRequired": {}}), "/dependentRequired"),
        (json!({"unevaluatedProperties": false}), "/unevaluatedProperties"),
        (json!({"x-guidance": {"lenient": true}}), "/x-guidance"),
        (json!({"$id": "http://a"}), "/$id"),
        (json!({"type": "text"}), "/type"),
        (json!({"enum": []}), "/enum"),
        (json!({"enum": [1e17]}), "/enum"),
        (json!({"minLength": -1}), "/minLength"),
        (json!({"maxItems": 1_000_000}), "/maxItems"),
        (json!({"minimum": "1"}), "/minimum"),
        (json!({"multipleOf": 0}), "/multipleOf"),
        (json!({"anyOf": [{}, 3]}), "/anyOf/1"),
        (json!({"required": [1]}), "/required"),
        (json!({"minProperties": 2}), "/minProperties"),
        (json!({"$ref": "http://a/b"}), "/$ref"),
        (json!({"$ref": "#/$defs/none"}), "/$ref"),
        (json!({"format": "no-such"}), "/format"),
        (json!({"type": "string", "pattern": "(?=a)b"}), "/pattern"),
        (json!({"oneOf": [{"type": "integer"}, {"type": "number"}]}), "/oneOf"),
    ] {
        let error =
            rulebook.compile(ConstraintSpec::Schema(&within(schema.clone())), Thinking::No).unwrap_err();
        assert_eq!(error.at, format!("{at}{path}"), "{schema} {error}");
    }
    let tool = Tool { name: "look".into(), schema: Some(within(json!({"not": {}}))) };
    for form in [Form::Json, Form::Tagged] {
        let calls = Calls { form, tools: vec![tool.clone()], several: false, or_text: false };
        let error = rulebook.compile(ConstraintSpec::Calls(&calls), Thinking::No).unwrap_err();
        assert_eq!(error.at, format!("/tools/0/parameters{at}/not"));
    }
}

#[test]
fn what_allows_nothing_is_refused() {
    let rulebook = rulebook();
    let required = |schema: Json| json!({"type": "object", "properties": {"a": schema}, "required": ["a"]});
    let endless = json!({"$ref": "#/$defs/a", "$defs": {"a": required(json!({"$ref": "#/$defs/a"}))}});
    for (schema, at) in [
        (json!(false), ""),
        (json!({"allOf": [{"type": "string"}, {"type": "integer"}]}), ""),
        (required(json!(false)), ""),
        (required(json!({"type": "integer", "minimum": 3, "maximum": 2})), "/properties/a"),
        (required(json!({"type": "string", "pattern": "^a{5}$", "maxLength": 3})), "/properties/a"),
        (endless, "/$defs/a"),
        (json!({"type": "array", "minItems": 1, "items": {"$ref": "#"}}), ""),
    ] {
        let error = rulebook.compile(ConstraintSpec::Schema(&schema), Thinking::No).unwrap_err();
        assert_eq!(error.at, at, "{schema} {error}");
        assert!(error.what.contains("allows nothing"), "{schema} {error}");
    }
    let chain = json!({"type": "object", "properties": {"next": {"$ref": "#"}}, "required": []});
    rulebook.compile(ConstraintSpec::Schema(&chain), Thinking::No).unwrap();
    let error = rulebook.compile(ConstraintSpec::Grammar("start: x\nx: x \"a\""), Thinking::No).unwrap_err();
    assert_eq!(error.what, "allows nothing");
}

#[test]
fn what_costs_too_much_is_refused_and_no_hang() {
    let rulebook = rulebook();
    let mut deep = json!({});
    for _ in 0..100 {
        deep = json!({"items": deep});
    }
    let wide: serde_json::Map<String, Json> =
        (0..6_000).map(|index| (format!("p{index}"), json!({}))).collect();
    let any =
        |count: usize| -> Json { (0..count).map(|n| json!({"properties": {format!("p{n}"): {}}})).collect() };
    let product =
        json!({"allOf": [{"anyOf": any(40)}, {"anyOf": any(40)}, {"anyOf": any(40)}, {"anyOf": any(40)}]});
    let patterns: serde_json::Map<String, Json> = (0..17).map(|n| (format!("^{n}"), json!({}))).collect();
    for schema in [
        deep,
        json!({"properties": wide}),
        product,
        json!({"patternProperties": patterns}),
        json!({"type": "string", "pattern": "a".repeat(2_000)}),
    ] {
        rulebook.compile(ConstraintSpec::Schema(&schema), Thinking::No).unwrap_err();
    }
    let error = rulebook.compile(ConstraintSpec::Expression(&"a".repeat(10_000)), Thinking::No).unwrap_err();
    assert!(error.what.contains("bytes"), "{error}");
    let grammar = format!("start: {}\"a\"", "(".repeat(50_000));
    rulebook.compile(ConstraintSpec::Grammar(&grammar), Thinking::No).unwrap_err();
    rulebook
        .compile(ConstraintSpec::Grammar("start: %json {\"x-guidance\": {\"lenient\": true}}"), Thinking::No)
        .unwrap_err();
}

#[test]
fn what_has_no_choice_is_told_at_once() {
    let rulebook = rulebook();
    let calls = Calls { form: Form::Json, tools: tools().split_off(1), several: false, or_text: false };
    let rule = rulebook.compile(ConstraintSpec::Calls(&calls), Thinking::No).unwrap();
    let mut following = rule.follow();
    let forced = following.forced_tokens();
    let text: Vec<u8> =
        forced.iter().flat_map(|token| rulebook.vocabulary.spelling(*token)).copied().collect();
    let wanted = "<tool_call>\n{\"name\": \"stop\", \"arguments\": {}}\n</tool_call>";
    assert_eq!(String::from_utf8(text).unwrap(), wanted);
    assert_eq!(forced, rulebook.vocabulary.tokens(wanted).unwrap(), "as a tokenizer writes it");
    assert!(following.is_over() && !following.is_broken());
}

#[test]
fn guesses_change_nothing_of_where_a_text_is() {
    let rulebook = rulebook();
    let rule = rulebook.compile(ConstraintSpec::Object, Thinking::No).unwrap();
    let tokens = |text: &str| rulebook.vocabulary.tokens(text).unwrap();
    for drafts in ["{\"a\":1}", "{\"a\":x", "}}", "{}{"] {
        let drafts = tokens(drafts);
        let (mut one, mut other) = (rule.follow(), rule.follow());
        let ahead = one.draft_masks(&drafts, &[]);
        assert_eq!(ahead.len(), drafts.len() + 1);
        // The mask computed ahead equals the mask computed after the token was accepted.
        for (found, token) in ahead.iter().zip(&drafts) {
            let here = other.draft_masks(&[], &[]).remove(0);
            if found.is_some() {
                assert_eq!(*found, here);
            }
            if !other.take(*token) {
                break;
            }
        }
        assert_eq!(one.draft_masks(&[], &[]), rule.follow().draft_masks(&[], &[]));
    }
}
