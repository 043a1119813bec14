//! Image edits and variations: multipart forms that are streamed to the upstream while they arrive, with
//! their files, and their cost.

use harness::client::Answer;
use harness::raw::{RawConnection, status_of};
use harness::{Behaviour, Flavour, Model, Outcome};
use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::WITHIN;
use crate::ask::{refused, trace_of};
use crate::command::workspace;
use crate::forms::{FORM, MIB, address, form, head, listening, noise, own_upstream, parts, peak};
use crate::gateway::{Gateway, OWN, OWN_SECOND, POOL, config, id_of};
use crate::sdk::drive;
use crate::wait::found;

const EDITS: &str = "/v1/images/edits";
const VARIATIONS: &str = "/v1/images/variations";
const PAINTER: &str = "openai/gpt-image-1-mini";
const OLD: &str = "openai/dall-e-2";
/// The tokens that the emulator counts for each input image, and for each generated one.
const SEEN: u64 = 323;
const MADE: u64 = 272;
/// An operator's own price: 20,000 micro-USD per image.
const PRICES: &str = "
[[model]]
name = \"openai/dall-e-2\"
modality = \"image\"
[[model.offer]]
provider = \"openai\"
upstream_model = \"dall-e-2\"
rates = { per_image = 20_000 }
";

struct Fixture {
    gateway: Gateway,
}

/// A gateway whose emulator edits images.
async fn bare() -> Fixture {
    let served = config().model(Model::image("gpt-image-1-mini")).model(Model::image("dall-e-2"));
    Fixture { gateway: Gateway::priced(served, PRICES).await }
}

async fn fixture() -> Fixture {
    let fixture = bare().await;
    fixture.gateway.credential("openai", OWN).await;
    fixture
}

async fn post(gateway: &Gateway, path: &str, body: Vec<u8>) -> Answer {
    gateway.client().call(Method::POST, path, &[FORM], body).await.unwrap()
}

async fn posted_ok(gateway: &Gateway, path: &str, body: Vec<u8>) -> Answer {
    let answer = post(gateway, path, body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer
}

fn edit<'a>(model: &'a str, more: &[(&'a str, &'a [u8])]) -> Vec<u8> {
    form(&[&[("model", model.as_bytes()), ("prompt", b"a high tide")], more].concat())
}

/// The emulator's description of a file: a lost, doubled or changed byte changes it.
fn description(name: &str, file: &[u8]) -> String {
    format!("{name}: {} bytes of {:08x}", file.len(), crc32fast::hash(file))
}

/// The text appended to the pixel data of an image.
fn appended_text(picture: &Value) -> String {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.decode(picture.as_str().unwrap()).unwrap();
    assert!(bytes.starts_with(b"\x89PNG"));
    let end = bytes.windows(8).position(|window| window == b"IEND\xaeB`\x82").unwrap() + 8;
    String::from_utf8(bytes[end..].to_vec()).unwrap()
}

fn appended_text_in(answer: &Answer) -> String {
    appended_text(&answer.json()["data"][0]["b64_json"])
}

fn units(row: &Value, name: &str) -> u64 {
    row["units"][name].as_u64().unwrap_or_else(|| panic!("no {name}: {row}"))
}

/// The booked amounts: what the operator is owed and what the provider bills, in nano-USD, and whether the
/// price is unknown.
fn money(row: &Value) -> (i64, i64, bool) {
    let nanos = |name: &str| row[name].as_i64().unwrap();
    (nanos("cost_nanos"), nanos("provider_cost_nanos"), row["unpriced"].as_bool().unwrap())
}

/// The cost of the mini model's tokens: 2 USD per million text tokens, 2.5 for image input, 8 for image
/// output.
fn mini_nanos(text: u64, seen: u64, made: u64) -> i64 {
    i64::try_from(text * 2_000 + seen * 2_500 + made * 8_000).unwrap()
}

#[tokio::test]
async fn official_clients_edit_and_vary_pictures() {
    let interpreter = workspace().join(".venv/bin/python");
    assert!(interpreter.exists(), "run scripts/python-env.sh first");
    assert!(workspace().join("tests/node/node_modules/openai").exists(), "run scripts/node-env.sh first");
    let fixture = fixture().await;
    let driven = drive(interpreter, workspace().join("tests/sdk/pictures.py"), &fixture.gateway).await;
    assert_eq!(driven.held, 6);
    let driven = drive("node".into(), workspace().join("tests/node/pictures.mjs"), &fixture.gateway).await;
    assert_eq!(driven.held, 4);
    assert_eq!(fixture.gateway.emulator.violations(), []);
}

#[tokio::test]
async fn an_edit_is_told_and_billed_in_tokens() {
    let Fixture { gateway, .. } = &fixture().await;
    let (one, two, mask) = (noise(1_000), noise(70_000), noise(500));
    let files: [(&str, &[u8]); 4] = [("n", b"2"), ("image[]", &one), ("image[]", &two), ("mask", &mask)];
    let answer = posted_ok(gateway, EDITS, edit(PAINTER, &files)).await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.json()["data"].as_array().unwrap().len(), 2);
    assert_eq!(
        appended_text_in(&answer),
        [description("image[]", &one), description("image[]", &two), description("mask", &mask)].join("; ")
    );
    let sent = gateway.calls(OWN).pop().unwrap();
    assert_eq!((sent.path.as_str(), &sent.body[..]), (EDITS, &edit("gpt-image-1-mini", &files)[..]));
    let row = gateway.settled(&trace_of(&answer)).await;
    assert_eq!((row["operation"].as_str(), row["profile"].as_str()), (Some("image_edits"), Some("byok")));
    let details = &answer.json()["usage"]["input_tokens_details"];
    let text = details["text_tokens"].as_u64().unwrap();
    let (seen, made) = (units(&row, "image_input_tokens"), units(&row, "image_output_tokens"));
    assert_eq!((units(&row, "images"), seen, made), (2, 3 * SEEN, 2 * MADE), "{row}");
    assert_eq!(row["input_tokens"], text + seen, "{row}");
    assert_eq!(money(&row), (0, mini_nanos(text, seen, made), false), "{row}");
    assert_eq!(row["estimated"], false);
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn an_edit_comes_by_and_by() {
    let Fixture { gateway, .. } = &fixture().await;
    let picture = noise(3 * MIB);
    let more: [(&str, &[u8]); 3] = [("stream", b"true"), ("partial_images", b"2"), ("image", &picture)];
    // If `stream` follows a long file in the form, the answer's content type reveals the stream.
    let behind: [(&str, &[u8]); 3] = [("image", &picture), ("stream", b"true"), ("partial_images", b"2")];
    for more in [more, behind] {
        let answer = posted_ok(gateway, EDITS, edit(PAINTER, &more)).await;
        assert_eq!(answer.header("content-type"), Some("text/event-stream; charset=utf-8"));
        let events: Vec<Value> = answer
            .text()
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .map(|data| serde_json::from_str(data).unwrap())
            .collect();
        let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
        let partial = "image_edit.partial_image";
        assert_eq!(kinds, [partial, partial, "image_edit.completed"]);
        assert_eq!(appended_text(&events[2]["b64_json"]), description("image", &picture));
        let row = gateway.settled(&trace_of(&answer)).await;
        assert_eq!((row["outcome"].as_str(), row["estimated"].as_bool()), (Some("completed"), Some(false)));
        let text = events[2]["usage"]["input_tokens_details"]["text_tokens"].as_u64().unwrap();
        assert_eq!(money(&row), (0, mini_nanos(text, SEEN, MADE), false), "{row}");
    }
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn variations_are_billed_by_the_picture_through_the_pool() {
    let Fixture { gateway, .. } = &bare().await;
    let body = json!({"provider": "openai", "secret": POOL, "base_url": gateway.emulator.base_url(), "markup_bps": 1_000});
    gateway.make("/v2/accounts", body).await;
    let picture = noise(2_000);
    let vary = form(&[("image", &picture), ("model", OLD.as_bytes()), ("n", b"3"), ("size", b"256x256")]);
    let answer = posted_ok(gateway, VARIATIONS, vary).await;
    assert_eq!(answer.header("agent-execution-profile"), Some("managed_provider"));
    assert_eq!(appended_text_in(&answer), description("image", &picture));
    let row = gateway.settled(&trace_of(&answer)).await;
    assert_eq!((row["operation"].as_str(), units(&row, "images")), (Some("image_variations"), 3));
    assert_eq!(money(&row), (66_000_000, 60_000_000, false), "{row}");
    // The pool edits images, too.
    let answer = posted_ok(gateway, EDITS, edit(PAINTER, &[("image", &picture)])).await;
    let row = gateway.settled(&trace_of(&answer)).await;
    let text = row["input_tokens"].as_u64().unwrap() - SEEN;
    let provider = mini_nanos(text, SEEN, MADE);
    assert_eq!(money(&row), (provider + provider / 10, provider, false), "{row}");
    // The vendor itself refuses what it supports for one model only, at no cost.
    let newer = form(&[("model", PAINTER.as_bytes()), ("image", &picture)]);
    let answer = post(gateway, VARIATIONS, newer).await;
    assert_eq!((answer.status, &answer.json()["error"]["param"]), (400, &json!("model")));
    assert_eq!(money(&gateway.settled(&trace_of(&answer)).await), (0, 0, false));
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn a_deployment_edits_by_either_path_and_varies_nothing() {
    for (version, path) in [
        (json!(null), "/azure/openai/v1/images/edits"),
        (
            json!("2025-04-01-preview"),
            "/azure/openai/deployments/my-gpt-image-1-mini/images/edits?api-version=2025-04-01-preview",
        ),
    ] {
        let Fixture { gateway, .. } = &bare().await;
        let mut config = json!({"deployments": {PAINTER: "my-gpt-image-1-mini", OLD: "my-dall-e-2"}});
        if !version.is_null() {
            config["api_version"] = version;
        }
        let base_url = gateway.emulator.base_url_of(Flavour::Azure);
        let body = json!({"provider": "azure", "secret": OWN, "base_url": base_url, "config": config});
        id_of(&gateway.make("/v2/provider-credentials", body).await);
        let picture = noise(3 * MIB);
        let answer = posted_ok(gateway, EDITS, edit(PAINTER, &[("image", &picture)])).await;
        assert_eq!(appended_text_in(&answer), description("image", &picture));
        assert_eq!(gateway.calls(OWN).pop().unwrap().path, path);
        let row = gateway.settled(&trace_of(&answer)).await;
        assert_eq!((units(&row, "images"), units(&row, "image_output_tokens")), (1, MADE), "{row}");
        assert_eq!(gateway.emulator.violations(), []);

        let vary = form(&[("model", OLD.as_bytes()), ("image", &noise(100))]);
        let error = refused(&post(gateway, VARIATIONS, vary).await, 400, "unsupported_operation");
        assert!(error["message"].as_str().unwrap().contains("no way to vary pictures"), "{error}");
        assert_eq!(gateway.calls(OWN).len(), 1);
    }
}

#[tokio::test]
async fn a_long_picture_is_not_held_and_every_byte_goes_on() {
    let Fixture { gateway, .. } = &mut fixture().await;
    posted_ok(gateway, EDITS, edit(PAINTER, &[("image", b"warm")])).await;
    let picture = noise(24 * MIB);
    let body = edit(PAINTER, &[("quality", b"low"), ("image", &picture)]);
    let pid = gateway.process().pid();
    peak(pid);
    let before = peak(pid);
    let answer = posted_ok(gateway, EDITS, body).await;
    let grown = peak(pid).saturating_sub(before);
    assert_eq!(appended_text_in(&answer), description("image", &picture));
    assert!(grown < 8 * MIB, "{grown} bytes more for one of {} MiB", 24);
    drop(picture);
    // A file that comes before the model field is buffered, and arrives complete.
    let picture = noise(2 * MIB);
    let first = form(&[("image", &picture), ("model", PAINTER.as_bytes()), ("prompt", b"x"), ("n", b"2")]);
    let answer = posted_ok(gateway, EDITS, first).await;
    assert_eq!(appended_text_in(&answer), description("image", &picture));
    assert_eq!(units(&gateway.settled(&trace_of(&answer)).await, "images"), 2);
}

#[tokio::test]
async fn what_is_wrong_with_a_form_is_said_in_the_clients_own_words() {
    let Fixture { gateway, .. } = &fixture().await;
    let (model, long) = (("model", PAINTER.as_bytes()), noise(3 * MIB));
    let check = async |path: &str, body: Vec<u8>, status: u16, code: &str, param: Value| {
        let answer = post(gateway, path, body).await;
        assert_eq!(refused(&answer, status, code)["param"], param, "{}", answer.text());
    };
    let missing = "missing_required_parameter";
    check(EDITS, form(&[model, ("prompt", b"x")]), 400, missing, json!("image")).await;
    check(EDITS, form(&[model, ("image", b"x")]), 400, missing, json!("prompt")).await;
    check(EDITS, form(&[("prompt", b"x"), ("image", b"x")]), 400, missing, json!("model")).await;
    check(VARIATIONS, form(&[model]), 400, missing, json!("image")).await;
    check(EDITS, edit(PAINTER, &[("image", b"x"), ("n", b"many")]), 400, "invalid_value", json!("n")).await;
    check(EDITS, edit(PAINTER, &[("stream", b"x"), ("image", b"x")]), 400, "invalid_value", json!("stream"))
        .await;
    check(EDITS, parts(&[model, ("prompt", b"x"), ("image", b"x")]), 400, "invalid_form", json!("body"))
        .await;
    check(EDITS, edit(PAINTER, &[("image", &noise(33 * MIB))]), 413, "request_too_large", Value::Null).await;
    let json = [("content-type", "application/json")];
    let body = json!({"model": PAINTER, "prompt": "x"}).to_string();
    let answer = gateway.client().call(Method::POST, EDITS, &json, body).await.unwrap();
    refused(&answer, 415, "unsupported_media_type");
    assert_eq!(gateway.calls(OWN).len(), 0);
    // A model that does not generate images receives no request; an unknown model is a 404.
    check(EDITS, edit("openai/gpt-4o-mini", &[("image", b"x")]), 400, "model_modality", json!("model")).await;
    let answer = post(gateway, EDITS, edit("openai/no-such", &[("image", b"x")])).await;
    assert_eq!(answer.status, 404, "{}", answer.text());
    // A wrong count or second model field after data was forwarded: the upstream never receives a complete
    // request.
    check(EDITS, edit(PAINTER, &[("image", &long), ("n", b"9")]), 400, "invalid_value", json!("n")).await;
    check(EDITS, edit(PAINTER, &[("image", &long), model]), 400, "duplicate_field", json!("model")).await;
    let whole = |call: &harness::Entry| call.outcome == Outcome::Answered;
    assert!(!gateway.calls(OWN).iter().filter(|call| call.model.as_deref() != Some("no-such")).any(whole));
    // A rule that only the vendor knows is left to the vendor.
    let body = edit(PAINTER, &[("response_format", b"url"), ("image", b"x")]);
    let answer = post(gateway, EDITS, body).await;
    assert_eq!((answer.status, &answer.json()["error"]["param"]), (400, &json!("response_format")));
}

#[tokio::test]
async fn who_edits_no_pictures_is_not_asked() {
    let Fixture { gateway, .. } = &bare().await;
    gateway.credential("xai", OWN_SECOND).await;
    let answer = post(gateway, EDITS, edit("xai:some-painter", &[("image", b"x")])).await;
    let error = refused(&answer, 400, "unsupported_operation");
    assert_eq!(error["param"], "model");
    assert!(error["message"].as_str().unwrap().contains("no way to edit pictures"), "{error}");
    assert_eq!(gateway.calls(OWN_SECOND).len(), 0);
}

#[tokio::test]
async fn what_is_wanted_is_reserved_before_anybody_is_asked() {
    let Fixture { gateway, .. } = &fixture().await;
    // With 8,192 tokens each: 66,000 micro-USD per generated image, 21,000 per input image.
    let limit = json!({"project_id": gateway.founded.project_id, "period": "month", "limit_micros": 600_000});
    let id = id_of(&gateway.make("/v2/budgets", limit).await);
    let answer = posted_ok(gateway, EDITS, edit(PAINTER, &[("image", b"x")])).await;
    let (_, nanos, _) = money(&gateway.settled(&trace_of(&answer)).await);
    let spent = found("a budget with nothing reserved", async || {
        let budget = gateway.get(&format!("/v2/budgets/{id}")).await;
        (budget["reserved_micros"] == 0).then(|| budget["spent_micros"].as_i64().unwrap())
    })
    .await;
    assert_eq!(spent, (nanos + 999) / 1_000, "{nanos}");
    let ten: [(&str, &[u8]); 2] = [("n", b"10"), ("image", b"x")];
    refused(&post(gateway, EDITS, edit(PAINTER, &ten)).await, 429, "quota_exceeded");
    assert_eq!(gateway.calls(OWN).len(), 1);
    // A remaining budget that is too small for ten images is enough for one.
    posted_ok(gateway, EDITS, edit(PAINTER, &[("image", b"x")])).await;
}

#[tokio::test]
async fn an_edit_that_is_cut_short_goes_nowhere_whole() {
    let Fixture { gateway, .. } = &fixture().await;
    let whole = edit(PAINTER, &[("image", &noise(3 * MIB))]);
    let mut raw = RawConnection::open(address(gateway), WITHIN).await.unwrap();
    raw.write(head(gateway, EDITS, "transfer-encoding: chunked\r\nconnection: close")).await.unwrap();
    // Everything but the end of the last boundary, then the end of the body.
    let short = &whole[..whole.len() - 9];
    for piece in short.chunks(100_000) {
        raw.write(format!("{:x}\r\n", piece.len())).await.unwrap();
        raw.write(piece).await.unwrap();
        raw.write("\r\n").await.unwrap();
    }
    raw.write("0\r\n\r\n").await.unwrap();
    let answer = raw.read_to_end().await.unwrap();
    let text = String::from_utf8_lossy(&answer).into_owned();
    assert!(status_of(&answer) == Some(400) && text.contains("invalid_form"), "{text}");
    assert!(!gateway.calls(OWN).iter().any(|call| call.outcome == Outcome::Answered));
}

#[tokio::test]
async fn another_credential_is_asked_while_nothing_is_gone_and_none_afterwards() {
    let Fixture { gateway, .. } = &fixture().await;
    gateway.credential("openai", OWN_SECOND).await;
    let broken = Behaviour { status: Some(500), ..Behaviour::default() };
    for key in [OWN, OWN_SECOND] {
        gateway.emulator.script(key, [broken.clone()]);
    }
    let answer = posted_ok(gateway, EDITS, edit(PAINTER, &[("image", b"short")])).await;
    assert_ne!(answer.header("agent-attempts"), Some("1"));
    for key in [OWN, OWN_SECOND] {
        gateway.emulator.script(key, [broken.clone().always()]);
    }
    let calls_before = gateway.calls(OWN).len() + gateway.calls(OWN_SECOND).len();
    let answer = post(gateway, EDITS, edit(PAINTER, &[("image", &noise(3 * MIB))])).await;
    assert_eq!((answer.status, answer.header("agent-attempts")), (502, Some("1")), "{}", answer.text());
    assert_eq!(gateway.calls(OWN).len() + gateway.calls(OWN_SECOND).len(), calls_before + 1);
}

#[tokio::test]
async fn a_client_that_leaves_ends_what_was_sent_for_it() {
    let Fixture { gateway, .. } = &fixture().await;
    let listener = own_upstream(gateway).await;
    let body = parts(&[("model", b"slow/painter"), ("prompt", b"x"), ("image", &noise(3 * MIB))]);
    let mut client = TcpStream::connect(address(gateway)).await.unwrap();
    let framing = format!("content-length: {}", 8 * MIB);
    client.write_all(head(gateway, EDITS, &framing).as_bytes()).await.unwrap();
    let mut buffer = vec![0; 256 * 1024];
    let (sent, mut upstream) = tokio::join!(client.write_all(&body), listening(&listener, EDITS));
    sent.unwrap();
    let mut received = 0;
    while received < 2 * MIB {
        let count = upstream.read(&mut buffer).await.unwrap();
        assert!(count > 0, "it ends after {received} bytes");
        received += count;
    }
    drop(client);
    let left = async { while matches!(upstream.read(&mut buffer).await, Ok(count) if count > 0) {} };
    tokio::time::timeout(WITHIN, left).await.expect("the upstream's connection ends with the client's");
    let row = found("the request in the books", async || gateway.requests(10).await.pop()).await;
    assert_eq!((&row["outcome"], &row["operation"]), (&json!("client_cancelled"), &json!("image_edits")));
}
