//! Tests of the table of routes as a whole: that it is sound, that every route describes itself, and that the checked-in
//! document is the generated one.

use admit::Needs;
use api::access::{Access, People};
use api::limits::{EMAIL_BYTES_MAX, ENVIRONMENT_BYTES_MAX, NAME_CHARS_MAX};
use api::openapi::bounds::{EMAIL, ENVIRONMENT, MOMENT, NAME};
use api::openapi::description::{Body, Description};
use api::openapi::{self, describe};
use api::router::{Route, RouteAuth};
use api::table;
use http::Method;
use people::checked_email;
use serde_json::{Value, json};

use super::{all, checked_environment, checked_name};

fn check_changed(pattern: &str, method: &Method, access: Access) -> Result<(), String> {
    let mut table = all();
    let row = table.iter_mut().find(|row| row.pattern == pattern && row.method == *method).unwrap();
    let RouteAuth::Known(_, handler) = row.auth else { panic!("{pattern} is open") };
    row.auth = RouteAuth::Known(access, handler);
    table::check(&table)
}

#[test]
fn the_table_is_sound_and_each_unsound_one_is_refused() {
    assert_eq!(table::check(&all()), Ok(()));
    let nobody = Access { key: None, people: None };
    let half = Access { key: Some(Needs::Admin), people: Some(People::Operator) };
    for (pattern, method, access) in [
        ("/v2/api-keys", Method::POST, Access::LOOK),
        ("/v2/api-keys", Method::POST, Access::PERSON),
        ("/v2/members/{id}", Method::DELETE, Access::ONESELF),
        ("/v2/usage", Method::GET, nobody),
        ("/v2/accounts", Method::GET, half),
    ] {
        let error = check_changed(pattern, &method, access).unwrap_err();
        assert!(error.contains(pattern), "{error}");
    }
}

#[test]
fn an_open_route_and_a_second_one_are_refused() {
    let mut table = all();
    let device = table.iter().find(|row| row.pattern == "/v2/device").unwrap().auth;
    assert!(matches!(device, RouteAuth::Open(_)), "the device's way in is not open");
    table.push(Route::by(Method::POST, "/v2/projects/all", device));
    assert!(table::check(&table).unwrap_err().contains("/v2/projects/all"));
    let mut table = all();
    let usage = table.iter().find(|row| row.pattern == "/v2/usage").unwrap().auth;
    table.push(Route::by(Method::GET, "/v2/usage", usage));
    assert!(table::check(&table).unwrap_err().contains("twice"));
}

#[test]
fn a_silent_route_is_refused() {
    assert_eq!(describe::check(&all()), Ok(()));
    let strip: [fn(&mut Description); 3] = [
        |description| description.summary = "",
        |description| description.responses.clear(),
        |description| description.body = Body::Absent,
    ];
    for strip in strip {
        let mut table = all();
        let row =
            table.iter_mut().find(|row| row.pattern == "/v2/projects" && row.method == Method::POST).unwrap();
        strip(&mut row.description);
        assert!(describe::check(&table).unwrap_err().starts_with("the route POST /v2/projects"));
    }
}

/// The checked-in document must equal the one that the gateway serves.
#[test]
fn the_checked_in_document_is_the_generated_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    let made = format!("{:#}\n", openapi::document(&all()).unwrap());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap();
    assert!(kept == made, "docs/openapi.json is old: run the tests of this crate with UPDATE_DOCS=1");
}

#[test]
fn every_reference_leads_somewhere() {
    fn follow(at: &Value, whole: &Value) {
        match at {
            Value::Object(fields) => {
                if let Some(target) = fields.get("$ref").and_then(Value::as_str) {
                    assert!(whole.pointer(&target[1..]).is_some(), "{target} is nowhere");
                }
                fields.values().for_each(|value| follow(value, whole));
            }
            Value::Array(items) => items.iter().for_each(|value| follow(value, whole)),
            _ => {}
        }
    }
    let whole = openapi::document(&all()).unwrap();
    follow(&whole, &whole);
}

/// Names every array whose items have no schema, and every schema that is `true`, which clients' generators can't read.
fn incomplete(at: &Value, place: &str) -> Vec<String> {
    let below = |name: &str, value: &Value| incomplete(value, &format!("{place}/{name}"));
    match at {
        Value::Object(fields) => {
            let is_array = fields.get("type").is_some_and(|kind| {
                kind == "array" || kind.as_array().is_some_and(|kinds| kinds.contains(&json!("array")))
            });
            let is_open = is_array && !fields.contains_key("items");
            let is_schema = |name: &str| name == "items" || place.ends_with("/properties");
            let booleans = fields.iter().filter(|(name, value)| is_schema(name) && **value == json!(true));
            let mut found: Vec<String> = booleans.map(|(name, _)| format!("{place}/{name}")).collect();
            found.extend(is_open.then(|| place.to_owned()));
            found.extend(fields.iter().flat_map(|(name, value)| below(name, value)));
            found
        }
        Value::Array(items) => items.iter().flat_map(|item| below("[]", item)).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn the_document_declares_each_parameter_of_a_path_and_the_items_of_each_array() {
    let whole = openapi::document(&all()).unwrap();
    assert_eq!(incomplete(&whole["components"]["schemas"], "/schemas"), Vec::<String>::new());
    assert_eq!(incomplete(&whole["paths"], "/paths"), Vec::<String>::new());
    for (path, operations) in whole["paths"].as_object().unwrap() {
        let mut wanted: Vec<_> =
            path.split('{').skip(1).map(|part| part.split('}').next().unwrap()).collect();
        wanted.sort_unstable();
        for (method, operation) in operations.as_object().unwrap().iter().filter(|(_, of)| of.is_object()) {
            let given = operation["parameters"].as_array().into_iter().flatten();
            let given = given.map(|given| match given["$ref"].as_str() {
                Some(target) => whole.pointer(&target[1..]).unwrap(),
                None => given,
            });
            let mut given: Vec<_> =
                given.filter(|of| of["in"] == "path").map(|of| of["name"].as_str().unwrap()).collect();
            given.sort_unstable();
            assert_eq!(given, wanted, "{method} {path}");
        }
    }
}

#[test]
fn a_listed_word_is_taken_and_no_other() {
    let of = |name: &str, word: &str| [(name.to_owned(), word.to_owned())].into();
    for route in all() {
        for (name, words) in &route.description.allowed_values {
            words
                .iter()
                .for_each(|word| assert!(route.check_query(&of(name, word)).is_ok(), "{name}={word}"));
            let refused = route.check_query(&of(name, "AAA")).unwrap_err();
            assert_eq!(refused.param.as_deref(), Some(*name), "{} {}", route.method, route.pattern);
        }
        if route.description.query.iter().any(|(name, _)| *name == "limit") {
            assert!(route.check_query(&of("limit", "0")).is_err(), "{}", route.pattern);
        }
    }
}

/// The schema and the check must agree on whether they accept a text.
fn agree(schema: &Value, text: &str, is_taken: bool) {
    assert_eq!(jsonschema::is_valid(schema, &json!(text)), is_taken, "{text:?} {schema}");
}

#[test]
fn the_document_says_what_the_checks_check() {
    let schema = json!({"type": "string", "minLength": 1, "maxLength": NAME_CHARS_MAX, "pattern": NAME});
    let (longest, longer) = ("\u{fc}".repeat(NAME_CHARS_MAX), "a".repeat(NAME_CHARS_MAX + 1));
    for text in ["a", "a b", " a", "", " ", "\u{2003}", "a\nb", "a\u{85}b", "\u{6f22}", &longest, &longer] {
        agree(&schema, text, checked_name(Some(text.to_owned()), "name").is_ok());
    }
    let schema = json!({"type": "string", "maxLength": EMAIL_BYTES_MAX, "pattern": EMAIL});
    let longer = format!("{}@b", "a".repeat(EMAIL_BYTES_MAX));
    for text in ["a@b", " A.b+c@d.example ", "", "a", "@b", "a@", "a@b@c", "a b@c", "a@b\u{7f}", &longer] {
        agree(&schema, text, checked_email(text).is_ok());
    }
    let schema = json!({"type": "string", "pattern": MOMENT});
    for text in [
        "2026-11-20",
        "2026-12-31T23:59:59.999Z",
        "1990-01-30",
        "2026-01-01T00:00:00+02:00",
        "",
        "today",
        "2026-02-30",
        "2026-04-31",
        "2026-13-01",
        "2026-01-01T24:00:00Z",
        "1969-12-31",
    ] {
        agree(&schema, text, reconcilers::moment::read(text, "since").is_ok());
    }
    let schema = json!({"type": "string", "maxLength": ENVIRONMENT_BYTES_MAX, "pattern": ENVIRONMENT});
    let (longest, longer) = ("a".repeat(ENVIRONMENT_BYTES_MAX), "a".repeat(ENVIRONMENT_BYTES_MAX + 1));
    for text in ["production", "eu-1_b", "", "Production", "a b", "\u{fc}", "a\n", &longest, &longer] {
        agree(&schema, text, checked_environment(text, "environment").is_ok());
    }
}
