//! SQL injection: every text that a route takes is treated as plain text, whatever SQL it contains.

use std::collections::BTreeSet;

use harness::client::{Answer, Client};
use harness::day;
use http::Method;
use serde_json::Value;

use crate::authorisation::tenant;
use crate::command::workspace;
use crate::gateway::Gateway;
use crate::tables::Tables;
use crate::writes::{Preparing, Try, writing};

/// One of each family that scanners try: quotes, comments, unions, stacked statements, blind and timed ones,
/// both SQL dialects, wildcards, encodings.
const CORPUS: [&str; 14] = [
    "' OR '1'='1",
    "' OR 1=1 --",
    "\" OR \"\"=\"",
    "1; DROP TABLE workspaces; --",
    "') UNION SELECT name, value FROM meta --",
    "' AND (SELECT COUNT(*) FROM people) > 0 --",
    "'||(SELECT pg_sleep(3))||'",
    "1 AND randomblob(100000000) IS NOT NULL",
    "$1",
    "?1 :a @b",
    "%' ESCAPE '%",
    "_%\\'",
    "\u{ff07} OR 1=1",
    "x' /*!50000 AND */ 1=1 #",
];
const HARMLESS: &str = "zzz";
/// Each place of a body gets one text in this many, and the next place the ones after them, each day from another one on: a run tries every
/// text and every place, and after as many days every place had every text. There are hundreds of places, which the same few pieces of code read.
const ONE_IN: usize = 4;

fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// What two answers must have in common, whatever text was sent.
fn class_of(answer: &Answer) -> (u16, Option<String>, Option<usize>) {
    let body = answer.json();
    let code = body["code"].as_str().map(str::to_owned);
    (answer.status, code, body["data"].as_array().map(Vec::len))
}

/// The reading routes, with the names of their query parameters.
fn reading() -> Vec<(String, Vec<String>)> {
    let text = std::fs::read(workspace().join("docs/openapi.json")).unwrap();
    let document: Value = serde_json::from_slice(&text).unwrap();
    let paths = document["paths"].as_object().unwrap().clone();
    let read = |(path, operations): (String, Value)| {
        let parameters = operations.get("get")?.get("parameters")?.as_array()?.clone();
        let query = parameters.iter().filter(|one| one["in"] == "query");
        Some((path, query.map(|one| one["name"].as_str().unwrap().to_owned()).collect()))
    };
    paths.into_iter().filter(|(path, _)| path.starts_with("/v2/")).filter_map(read).collect()
}

async fn get(client: &Client, path: &str, headers: &[(&str, &str)]) -> Answer {
    let answer = client.call(Method::GET, path, headers, "").await.unwrap();
    assert!(answer.status < 500, "GET {path} {headers:?}: {}", answer.text());
    answer
}

/// The path with this in each of its placeholders.
fn filled(path: &str, with: &str) -> String {
    let fill = |segment: &str| if segment.starts_with('{') { with } else { segment }.to_owned();
    path.split('/').map(fill).collect::<Vec<_>>().join("/")
}

/// Tries each text of the corpus where a path says TEXT, which must be answered as a harmless one is.
async fn takes_texts(client: &Client, path: &str) -> usize {
    let at = |text: &str| path.replace("TEXT", &escaped(text));
    let expected = class_of(&get(client, &at(HARMLESS), &[]).await);
    for text in CORPUS {
        assert_eq!(class_of(&get(client, &at(text), &[]).await), expected, "{path} {text}");
    }
    CORPUS.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parameters_and_ids_are_texts() {
    let gateway = Gateway::with_everything().await;
    // What is read as a file, or opened, has an entry of the audit.
    let mut tables = Tables::of(&gateway);
    let mut unaudited = async || {
        let mut hashes = tables.look().await.tables;
        hashes.retain(|name, _| !name.starts_with("audit"));
        hashes
    };
    let (admin, before) = (gateway.admin(), unaudited().await);
    let mut tried = 0;
    for (path, query) in reading() {
        if path.contains('{') {
            tried += takes_texts(&admin, &filled(&path, "key_TEXT")).await;
            continue;
        }
        for name in query {
            tried += takes_texts(&admin, &format!("{path}?{name}=TEXT")).await;
        }
    }
    assert!(tried > 500, "{tried}");
    assert_eq!(unaudited().await, before);
    at_objects(&gateway).await;
}

/// The id of an object that is shown below this path.
async fn shown_below<'a>(admin: &Client, before: &str, ids: impl Iterator<Item = &'a str>) -> Option<String> {
    for id in ids {
        if get(admin, &format!("{before}{id}"), &[]).await.status == 200 {
            return Some(id.to_owned());
        }
    }
    None
}

/// The parameters of routes with an id, which are read once their object was found, and the placeholders after the id.
async fn at_objects(gateway: &Gateway) {
    let tenant = tenant(gateway, "texts").await;
    let admin = gateway.with_key(&tenant.founded.admin_key);
    let mut tried = 0;
    for (path, query) in reading() {
        let Some((before, rest)) = path.split_once("{id}") else { continue };
        if query.is_empty() && !rest.contains('{') {
            continue;
        }
        let ids = tenant.objects.values().map(String::as_str).chain(["openai"]);
        let Some(id) = shown_below(&admin, before, ids).await else { continue };
        if rest.contains('{') {
            tried += takes_texts(&admin, &format!("{before}{id}{}", filled(rest, "TEXT"))).await;
        }
        for name in query {
            tried += takes_texts(&admin, &format!("{before}{id}{}?{name}=TEXT", filled(rest, "1"))).await;
        }
    }
    assert!(tried > 15 * CORPUS.len(), "{tried}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_are_texts() {
    let gateway = Gateway::start().await;
    let (admin, nobody) = (gateway.admin(), Client::new(&gateway.origin));
    for text in CORPUS.into_iter().filter(|text| text.is_ascii()) {
        let bearer = format!("Bearer {text}");
        let cookie = format!("tidegate_session={}", text.replace(';', ""));
        let path = "/v2/projects";
        for (header, value) in [("authorization", &*bearer), ("x-api-key", text), ("cookie", &*cookie)] {
            assert_eq!(get(&nobody, path, &[(header, value)]).await.status, 401, "{header}: {value}");
        }
        assert_eq!(get(&admin, path, &[("tidegate-workspace", text)]).await.status, 404, "{text}");
        assert_eq!(get(&admin, path, &[("if-none-match", text)]).await.status, 200, "{text}");
    }
}

/// Every string in a body, as a JSON pointer.
fn texts(body: &Value, at: &str, found: &mut Vec<String>) {
    match body {
        Value::String(_) => found.push(at.to_owned()),
        Value::Object(fields) => {
            let pointer = |name: &str| format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
            fields.iter().for_each(|(name, value)| texts(value, &pointer(name), found));
        }
        Value::Array(items) => {
            let each = items.iter().enumerate();
            each.for_each(|(number, value)| texts(value, &format!("{at}/{number}"), found));
        }
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_are_texts() {
    let gateway = Gateway::with_everything().await;
    let mut tables = Tables::of(&gateway);
    let (mut tried, turn) = (0, day::turn());
    let mut texts_tried = BTreeSet::new();
    for (number, (method, pattern)) in writing().into_iter().enumerate() {
        let prepared = Preparing { gateway: &gateway, number }.prepare(&method, pattern).await;
        let before = tables.look().await;
        let mut pointers = Vec::new();
        texts(&prepared.body, "", &mut pointers);
        for (place, pointer) in pointers.into_iter().enumerate() {
            let first = (turn + number + place) % ONE_IN;
            for text in CORPUS.into_iter().chain(["a\0b"]).skip(first).step_by(ONE_IN) {
                let mut body = prepared.body.clone();
                *body.pointer_mut(&pointer).unwrap() = Value::from(text);
                let (client, path) = (prepared.client.clone(), prepared.path.clone());
                let answer = Try { client, method: method.clone(), path, body }.call("?dry_run=true").await;
                assert!(answer.status < 500, "{method} {pattern} {pointer} {text}: {}", answer.text());
                tried += 1;
                texts_tried.insert(text);
            }
        }
        assert_eq!(tables.look().await, before, "{method} {pattern}");
    }
    assert!(tried > 500, "{tried}");
    assert_eq!(texts_tried.len(), CORPUS.len() + 1, "a text was tried nowhere: {texts_tried:?}");
}
