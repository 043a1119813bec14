//! Image edits and variations: multipart forms that are streamed to the upstream while they arrive, with
//! their files, and their cost.

use harness::client::Answer;
use harness::{Behaviour, Flavour, Model, Outcome};
use http::Method;
use serde_json::{Value, json};

use crate::ask::{events_of, has, refused, refused_with, trace_of, with};
use crate::audio::{left_midway, sent_in_chunks, without_growth};
use crate::command::workspace;
use crate::forms::{FORM, MIB, form, noise, parts};
use crate::gateway::{CREDENTIALS, Gateway, OWN, OWN_SECOND, POOL, config, id_of, money, units};
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
const PRICES: &str = r#"
[[model]]
name = "openai/dall-e-2"
modality = "image"
offer = [{ provider = "openai", upstream_model = "dall-e-2", rates = { per_image = 20_000 } }]
"#;

/// A gateway whose emulator edits images.
async fn bare() -> Gateway {
    let served = config().model(Model::image("gpt-image-1-mini")).model(Model::image("dall-e-2"));
    Gateway::priced(served, PRICES).await
}

async fn fixture() -> Gateway {
    let gateway = bare().await;
    gateway.credential("openai", OWN).await;
    gateway
}

async fn post(gateway: &Gateway, path: &str, body: Vec<u8>) -> Answer {
    gateway.client().call(Method::POST, path, &[FORM], body).await.unwrap()
}

async fn posted_ok(gateway: &Gateway, path: &str, body: Vec<u8>) -> Answer {
    post(gateway, path, body).await.must_be(200)
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

/// The cost of the mini model's tokens: 2 USD per million text tokens, 2.5 for image input, 8 for image
/// output.
fn mini_nanos(text: u64, seen: u64, made: u64) -> i64 {
    i64::try_from(text * 2_000 + seen * 2_500 + made * 8_000).unwrap()
}

#[tokio::test]
async fn official_clients_edit_and_vary_pictures() {
    assert!(workspace().join("tests/node/node_modules/openai").exists(), "run scripts/node-env.sh first");
    let gateway = fixture().await;
    assert_eq!(gateway.drive("pictures.py").await, 6);
    let driven = drive("node".into(), workspace().join("tests/node/pictures.mjs"), &gateway).await;
    assert_eq!(driven.held, 4);
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn an_edit_is_told_and_billed_in_tokens() {
    let gateway = &fixture().await;
    let (one, two, mask) = (noise(1_000), noise(70_000), noise(500));
    let files: [(&str, &[u8]); 4] = [("n", b"2"), ("image[]", &one), ("image[]", &two), ("mask", &mask)];
    let answer = posted_ok(gateway, EDITS, edit(PAINTER, &files)).await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.json()["data"].as_array().unwrap().len(), 2);
    let described = [description("image[]", &one), description("image[]", &two), description("mask", &mask)];
    assert_eq!(appended_text_in(&answer), described.join("; "));
    let sent = gateway.last(OWN);
    assert_eq!((sent.path.as_str(), &sent.body[..]), (EDITS, &edit("gpt-image-1-mini", &files)[..]));
    let row = gateway.settled(&trace_of(&answer)).await;
    let text = answer.json()["usage"]["input_tokens_details"]["text_tokens"].as_u64().unwrap();
    let (seen, made) = (units(&row, "image_input_tokens"), units(&row, "image_output_tokens"));
    assert_eq!((units(&row, "images"), seen, made), (2, 3 * SEEN, 2 * MADE), "{row}");
    has(&row, json!({"operation": "image_edits", "profile": "byok", "input_tokens": text + seen}));
    assert_eq!(row["estimated"], false);
    assert_eq!(money(&row), (0, mini_nanos(text, seen, made), false), "{row}");
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn an_edit_comes_by_and_by() {
    let gateway = &fixture().await;
    let picture = noise(3 * MIB);
    let more: [(&str, &[u8]); 3] = [("stream", b"true"), ("partial_images", b"2"), ("image", &picture)];
    // If `stream` follows a long file in the form, the answer's content type reveals the stream.
    let behind: [(&str, &[u8]); 3] = [("image", &picture), ("stream", b"true"), ("partial_images", b"2")];
    for more in [more, behind] {
        let answer = posted_ok(gateway, EDITS, edit(PAINTER, &more)).await;
        assert_eq!(answer.header("content-type"), Some("text/event-stream; charset=utf-8"));
        let events = events_of(&answer);
        let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
        let partial = "image_edit.partial_image";
        assert_eq!(kinds, [partial, partial, "image_edit.completed"]);
        assert_eq!(appended_text(&events[2]["b64_json"]), description("image", &picture));
        let row = gateway.settled(&trace_of(&answer)).await;
        has(&row, json!({"outcome": "completed", "estimated": false}));
        let text = events[2]["usage"]["input_tokens_details"]["text_tokens"].as_u64().unwrap();
        assert_eq!(money(&row), (0, mini_nanos(text, SEEN, MADE), false), "{row}");
    }
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn variations_are_billed_by_the_picture_through_the_pool() {
    let gateway = &bare().await;
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
    let answer = post(gateway, VARIATIONS, newer).await.must_be(400);
    has(&answer.json(), json!({"/error/param": "model"}));
    assert_eq!(money(&gateway.settled(&trace_of(&answer)).await), (0, 0, false));
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn a_deployment_edits_by_either_path_and_varies_nothing() {
    let (mine, old) = ("my-gpt-image-1-mini", "2025-04-01-preview");
    for (version, path) in [
        (Value::Null, "/azure/openai/v1/images/edits"),
        (json!(old), &*format!("/azure/openai/deployments/{mine}/images/edits?api-version={old}")),
    ] {
        let gateway = &bare().await;
        let deployments = json!({"deployments": {PAINTER: mine, OLD: "my-dall-e-2"}});
        let config = with(deployments, json!({"api_version": version}));
        let base_url = gateway.emulator.base_url_of(Flavour::Azure);
        let body = json!({"provider": "azure", "secret": OWN, "base_url": base_url, "config": config});
        gateway.make(CREDENTIALS, body).await;
        let picture = noise(3 * MIB);
        let answer = posted_ok(gateway, EDITS, edit(PAINTER, &[("image", &picture)])).await;
        assert_eq!(appended_text_in(&answer), description("image", &picture));
        assert_eq!(gateway.last(OWN).path, path);
        let row = gateway.settled(&trace_of(&answer)).await;
        assert_eq!((units(&row, "images"), units(&row, "image_output_tokens")), (1, MADE), "{row}");
        assert_eq!(gateway.emulator.violations(), []);

        let vary = form(&[("model", OLD.as_bytes()), ("image", &noise(100))]);
        let answer = post(gateway, VARIATIONS, vary).await;
        refused_with(&answer, 400, "unsupported_operation", "no way to vary pictures");
        assert_eq!(gateway.calls(OWN).len(), 1);
    }
}

#[tokio::test]
async fn a_long_picture_is_not_held_and_every_byte_goes_on() {
    let gateway = &fixture().await;
    posted_ok(gateway, EDITS, edit(PAINTER, &[("image", b"warm")])).await;
    let picture = noise(24 * MIB);
    let body = edit(PAINTER, &[("quality", b"low"), ("image", &picture)]);
    let answer = without_growth(gateway.pid(), posted_ok(gateway, EDITS, body)).await;
    assert_eq!(appended_text_in(&answer), description("image", &picture));
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
    let gateway = &fixture().await;
    let (model, long) = (("model", PAINTER.as_bytes()), noise(3 * MIB));
    let check = async |path: &str, body: Vec<u8>, status: u16, code: &str, param: Value| {
        let answer = post(gateway, path, body).await;
        assert_eq!(refused(&answer, status, code)["param"], param, "{}", answer.text());
    };
    let (missing, wrong) = ("missing_required_parameter", "invalid_value");
    check(EDITS, form(&[model, ("prompt", b"x")]), 400, missing, json!("image")).await;
    check(EDITS, form(&[model, ("image", b"x")]), 400, missing, json!("prompt")).await;
    check(EDITS, form(&[("prompt", b"x"), ("image", b"x")]), 400, missing, json!("model")).await;
    check(VARIATIONS, form(&[model]), 400, missing, json!("image")).await;
    check(EDITS, edit(PAINTER, &[("image", b"x"), ("n", b"many")]), 400, wrong, json!("n")).await;
    check(EDITS, edit(PAINTER, &[("stream", b"x"), ("image", b"x")]), 400, wrong, json!("stream")).await;
    let open = parts(&[model, ("prompt", b"x"), ("image", b"x")]);
    check(EDITS, open, 400, "invalid_form", json!("body")).await;
    check(EDITS, edit(PAINTER, &[("image", &noise(33 * MIB))]), 413, "request_too_large", Value::Null).await;
    let json = [("content-type", "application/json")];
    let body = json!({"model": PAINTER, "prompt": "x"}).to_string();
    let answer = gateway.client().call(Method::POST, EDITS, &json, body).await.unwrap();
    refused(&answer, 415, "unsupported_media_type");
    assert_eq!(gateway.calls(OWN).len(), 0);
    // A model that does not generate images receives no request; an unknown model is a 404.
    check(EDITS, edit("openai/gpt-4o-mini", &[("image", b"x")]), 400, "model_modality", json!("model")).await;
    post(gateway, EDITS, edit("openai/no-such", &[("image", b"x")])).await.must_be(404);
    // A wrong count or second model field after data was forwarded: the upstream never receives all.
    check(EDITS, edit(PAINTER, &[("image", &long), ("n", b"9")]), 400, wrong, json!("n")).await;
    check(EDITS, edit(PAINTER, &[("image", &long), model]), 400, "duplicate_field", json!("model")).await;
    let whole = |call: &harness::Entry| call.outcome == Outcome::Answered;
    assert!(!gateway.calls(OWN).iter().filter(|call| call.model.as_deref() != Some("no-such")).any(whole));
    // A rule that only the vendor knows is left to the vendor.
    let body = edit(PAINTER, &[("response_format", b"url"), ("image", b"x")]);
    has(&post(gateway, EDITS, body).await.must_be(400).json(), json!({"/error/param": "response_format"}));
}

#[tokio::test]
async fn who_edits_no_pictures_is_not_asked() {
    let gateway = &bare().await;
    gateway.credential("xai", OWN_SECOND).await;
    let answer = post(gateway, EDITS, edit("xai:some-painter", &[("image", b"x")])).await;
    let error = refused_with(&answer, 400, "unsupported_operation", "no way to edit pictures");
    assert_eq!(error["param"], "model");
    assert_eq!(gateway.calls(OWN_SECOND).len(), 0);
}

#[tokio::test]
async fn what_is_wanted_is_reserved_before_anybody_is_asked() {
    let gateway = &fixture().await;
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
    let gateway = &fixture().await;
    let whole = edit(PAINTER, &[("image", &noise(3 * MIB))]);
    // Everything but the end of the last boundary, then the end of the body.
    let (status, text) = sent_in_chunks(gateway, EDITS, &whole[..whole.len() - 9]).await;
    assert!(status == Some(400) && text.contains("invalid_form"), "{text}");
    assert!(!gateway.calls(OWN).iter().any(|call| call.outcome == Outcome::Answered));
}

#[tokio::test]
async fn another_credential_is_asked_while_nothing_is_gone_and_none_afterwards() {
    let gateway = &fixture().await;
    gateway.credential("openai", OWN_SECOND).await;
    let broken = Behaviour::status(500);
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
    let gateway = &fixture().await;
    let body = parts(&[("model", b"slow/painter"), ("prompt", b"x"), ("image", &noise(3 * MIB))]);
    let row = left_midway(gateway, EDITS, &body).await;
    has(&row, json!({"outcome": "client_cancelled", "operation": "image_edits"}));
}
