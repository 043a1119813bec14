//! Apps of every modality: run by one call, with the same answer whoever serves them, and listed with their schemas.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use harness::client::Answer;
use harness::{Config, Model};
use serde_json::{Value, json};

use crate::ask::{LLAMA, MINI, has, shape, trace_of, with};
use crate::canary::holds;
use crate::command::workspace;
use crate::gateway::{Gateway, LOCAL_MODEL, NODE, OWN, OWN_SECOND, POOL, config, id_of};
use crate::sdk::drive;

const VECTORS: &str = "openai/text-embedding-3-small";
const PAINTER: &str = "openai/gpt-image-1-mini";
const VOICE: &str = "openai/gpt-4o-mini-tts";
const EARS: &str = "openai/whisper-1";
const SORA: &str = "openai/sora-2";
const RANKER: &str = "Qwen/Qwen3-Reranker-8B";

/// What an operator sells of each modality.
fn prices() -> String {
    let (voice, ears) = ("per_million_characters = 15_000_000", "input = 2_500_000, output = 10_000_000");
    let sold = [
        ("acme/vectors", "embedding", "", "together_ai", "acme-vectors", "input = 20_000"),
        ("acme/painter", "image", "", "together_ai", "acme-painter", "per_image = 2_700"),
        ("acme/voice", "audio", "operation = 'speech'", "together_ai", "acme-voice", voice),
        ("acme/ears", "audio", "operation = 'transcribe'", "together_ai", "gpt-4o-transcribe", ears),
        ("acme/ranker", "rerank", "", "together_ai", "acme-ranker", "input = 100_000"),
        (SORA, "video", "", "openai", "sora-2", "per_video_second = 100_000"),
    ];
    let rows = sold.map(|(name, modality, operation, provider, upstream, rates)| {
        format!(
            "[[model]]\nname = '{name}'\nmodality = '{modality}'\n{operation}\n[[model.offer]]\n\
             provider = '{provider}'\nupstream_model = '{upstream}'\nrates = {{ {rates} }}\n"
        )
    });
    rows.concat()
}

/// A gateway with a credential, an account and a node, each of which serves a model of every modality.
async fn gateway() -> Gateway {
    let vectors = ["text-embedding-3-small", "acme-vectors", "tide-vectors"].map(Model::embedding);
    let painters = ["gpt-image-1-mini", "gpt-image-1", "acme-painter"].map(Model::image);
    let voices = ["gpt-4o-mini-tts", "acme-voice", "tide-voice"].map(Model::speech);
    let rankers = ["accounts/fireworks/models/qwen3-reranker-8b", "acme-ranker", "tide-rank"];
    let models = [vectors, painters, voices, rankers.map(Model::rerank)].into_iter().flatten();
    let served = models.chain([Model::video("sora-2")]).fold(config(), Config::model);
    let gateway = Gateway::priced(served, &prices()).await;
    let at = |path: &str| format!("{}{path}", gateway.emulator.origin());
    for (provider, secret, path) in
        [("openai", OWN, "/v1"), ("fireworks_ai", OWN_SECOND, "/fireworks/inference/v1")]
    {
        let named = json!({"provider": provider, "display_name": provider});
        let body = with(named, json!({"secret": secret, "base_url": at(path)}));
        gateway.make("/v2/provider-credentials", body).await;
    }
    let account = json!({"provider": "together_ai", "secret": POOL, "base_url": at("/lenient/v1")});
    gateway.make("/v2/accounts", account).await;
    let ours = [LOCAL_MODEL, "tide-vectors", "gpt-image-1-mini"];
    let models = [ours, ["tide-voice", "gpt-4o-mini-transcribe", "tide-rank"]].concat();
    let node = json!({"name": "rack", "base_url": at("/lenient/v1"), "secret": NODE, "models": models});
    gateway.make("/v2/byoc/nodes", node).await;
    gateway
}

async fn run(gateway: &Gateway, app: &str, input: &Value) -> Answer {
    gateway.client().post("/v1/run", &json!({"app": app, "input": input})).await.unwrap()
}

/// The text of the last call with this key.
fn last_sent(gateway: &Gateway, key: &str) -> String {
    String::from_utf8(gateway.calls(key).pop().unwrap().body.to_vec()).unwrap()
}

async fn output(gateway: &Gateway, app: &str, input: &Value) -> (Answer, Value) {
    let answer = run(gateway, app, input).await;
    assert_eq!(answer.status, 200, "{app} {input}: {}", answer.text());
    let task = answer.json()["data"].clone();
    assert_eq!(task["status"], 10, "{app}: {task}");
    (answer, task)
}

/// A data URI's bytes.
fn bytes_of(uri: &Value) -> Vec<u8> {
    let uri = uri.as_str().unwrap();
    let (head, encoded) = uri.split_once(";base64,").unwrap_or_else(|| panic!("no data URI: {uri}"));
    assert!(head.starts_with("data:"), "{head}");
    STANDARD.decode(encoded).unwrap()
}

fn data_uri(kind: &str, bytes: &[u8]) -> String {
    format!("data:{kind};base64,{}", STANDARD.encode(bytes))
}

fn recording() -> String {
    data_uri("audio/wav", &[7; 32_000])
}

/// Each modality with its models under a key of one's own, on an account of the operator's and on a node, an input that all of
/// them take, and how the use of each is told, where that is checked.
fn of_every_modality() -> [(&'static str, [&'static str; 3], Value, [&'static str; 3]); 6] {
    let text = "The tide is high";
    let texts = json!({"texts": [text, "low"]});
    let heard = ["seconds", "tokens", "tokens"];
    let documents = json!(["low water", {"text": "a tide"}]);
    let ranked = json!({"query": "tide", "documents": documents, "return_documents": true});
    [
        ("run", [MINI, LLAMA, LOCAL_MODEL], json!({"prompt": "hello there"}), ["tokens"; 3]),
        ("embed", [VECTORS, "acme/vectors", "tide-vectors"], texts, ["tokens"; 3]),
        (
            "images",
            [PAINTER, "acme/painter", "gpt-image-1-mini"],
            json!({"prompt": "a tide", "n": 2}),
            [""; 3],
        ),
        ("speech", [VOICE, "acme/voice", "tide-voice"], json!({"text": text, "voice": "alloy"}), [""; 3]),
        ("transcribe", [EARS, "acme/ears", "gpt-4o-mini-transcribe"], json!({"audio": recording()}), heard),
        ("rerank", [RANKER, "acme/ranker", "tide-rank"], ranked, [""; 3]),
    ]
}

#[tokio::test]
async fn every_modality_runs_and_looks_the_same_whoever_serves_it() {
    let gateway = gateway().await;
    for (operation, apps, input, units) in of_every_modality() {
        let mut seen = Vec::new();
        for ((app, profile), unit) in apps.into_iter().zip(["byok", "managed_provider", "byoc"]).zip(units) {
            let (answer, task) = output(&gateway, app, &input).await;
            assert_eq!(answer.header("agent-execution-profile"), Some(profile), "{app}");
            let used = &task["usage_events"][0];
            assert!(used["quantity"].as_f64().unwrap() > 0.0, "{app}: {used}");
            assert!(unit.is_empty() || used["unit"] == unit, "{app}: {used} is not in {unit}");
            let booked = gateway.settled(&trace_of(&answer)).await;
            has(&booked, json!({"operation": operation, "outcome": "completed", "profile": profile}));
            let mut seen_task = shape(&task);
            // Some providers tell what was used, and others don't.
            seen_task["usage_events"][0]["estimated"] = Value::Null;
            seen.push(seen_task);
        }
        assert_eq!(seen[..2], seen[1..], "{operation}");
    }
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn what_comes_out_is_what_the_provider_made_or_edited() {
    let gateway = gateway().await;
    let (_, task) = output(&gateway, VECTORS, &json!({"text": "a"})).await;
    assert!(task["output"]["embeddings"][0][0].is_number(), "{task}");
    let (_, task) = output(&gateway, PAINTER, &json!({"prompt": "a tide", "size": "1024x1024"})).await;
    let image = &task["output"]["images"][0];
    assert!(bytes_of(&image["uri"]).starts_with(b"\x89PNG"), "{image}");
    assert_eq!(image["content_type"], "image/png");
    // The catalogue has no row of this one: its name tells what it does.
    let (answer, task) = output(&gateway, "openai/gpt-image-1", &json!({"prompt": "a tide"})).await;
    assert!(bytes_of(&task["output"]["images"][0]["uri"]).starts_with(b"\x89PNG"), "{task}");
    assert_eq!(gateway.settled(&trace_of(&answer)).await["operation"], "images");
    let (_, task) = output(&gateway, VOICE, &json!({"text": "high tide", "voice": "alloy"})).await;
    let sound = &task["output"]["audio"];
    assert!(!bytes_of(&sound["uri"]).is_empty() && sound["content_type"] == "audio/mpeg", "{sound}");
    let (_, task) = output(&gateway, EARS, &json!({"audio": recording(), "timestamps": "segment"})).await;
    assert!(task["output"]["text"].as_str().unwrap().starts_with("I heard 32000 bytes"), "{task}");
    assert!(task["output"]["language"].is_string() && task["output"]["segments"].is_array(), "{task}");
    has(&task["usage_events"][0], json!({"type": "audio", "quantity": 2, "unit": "seconds"}));
    let ranked = json!({"query": "tide", "documents": ["low water", "a tide"], "top_n": 1});
    let ranked = with(ranked, json!({"return_documents": true}));
    let (_, task) = output(&gateway, "acme/ranker", &ranked).await;
    let best = &task["output"]["results"][0];
    has(best, json!({"index": 1, "document": "a tide"}));
    assert!(best["score"].is_number());
    // An edited picture is made of the one that was sent.
    let picture = [b"\x89PNG\r\n\x1a\n".as_slice(), &[3; 500]].concat();
    let uri = data_uri("image/png", &picture);
    let more = json!({"prompt": "more", "image": uri, "mask": uri});
    let (answer, task) = output(&gateway, PAINTER, &more).await;
    let edited = bytes_of(&task["output"]["images"][0]["uri"]);
    let told = format!("image: {} bytes of {:08x}", picture.len(), crc32fast::hash(&picture));
    assert!(holds(&edited, told), "{task}");
    assert_eq!(gateway.settled(&trace_of(&answer)).await["operation"], "image_edits");
    assert_eq!(gateway.emulator.violations(), []);
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn a_video_is_waited_for() {
    let gateway = gateway().await;
    let film = json!({"prompt": "a tide", "seconds": 4, "size": "1280x720"});
    let (_, task) = output(&gateway, SORA, &film).await;
    let video = &task["output"]["video"];
    has(video, json!({"content_type": "video/mp4", "seconds": 4}));
    let film = gateway.client().get(video["uri"].as_str().unwrap()).await.unwrap();
    assert!(film.status == 200 && !film.body.is_empty(), "{}", film.status);
    assert_eq!(task["usage_events"][0]["unit"], "seconds");
    assert_eq!(gateway.emulator.violations(), []);
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn wrong_inputs_of_each_modality_are_told_by_their_place() {
    let gateway = gateway().await;
    let html = "data:text/html,<html></html>";
    let [mislabelled, zip] = ["image/png", "application/zip"].map(|kind| data_uri(kind, b"PK\x03\x04"));
    for (app, input, pointer) in [
        (VECTORS, json!({}), "/input/text"),
        (VECTORS, json!({"text": ["a", 3]}), "/input/text/1"),
        (PAINTER, json!({"prompt": "a", "n": 0}), "/input/n"),
        (PAINTER, json!({"prompt": "a", "image": html}), "/input/image"),
        (PAINTER, json!({"prompt": "a", "images": [mislabelled]}), "/input/images/0"),
        (VOICE, json!({"text": "a"}), "/input/voice"),
        (EARS, json!({"audio": html}), "/input/audio"),
        (EARS, json!({"audio": {"uri": "ftp://h/a.mp3"}}), "/input/audio/uri"),
        (RANKER, json!({"query": "a", "documents": []}), "/input/documents"),
        (SORA, json!({"prompt": "a", "seconds": 0}), "/input/seconds"),
        (MINI, json!({"prompt": "a", "tone": "x"}), "/input/tone"),
        (MINI, json!({"prompt": "a", "images": [mislabelled]}), "/input/images/0"),
        (MINI, json!({"prompt": "a", "documents": [zip]}), "/input/documents/0"),
    ] {
        let answer = run(&gateway, app, &input).await;
        assert_eq!(answer.status, 422, "{app} {input}: {}", answer.text());
        has(&answer.json(), json!({"code": "validation_error", "/errors/0/pointer": pointer}));
    }
    for media in ["embeddings", "images", "audio", "rerank", "videos"] {
        let sent = gateway.emulator.journal().into_iter().filter(|entry| entry.path.contains(media));
        assert_eq!(sent.count(), 0, "a wrong input was sent: {media}");
    }
    // A provider's refusal names the field as the input has it.
    let answer = run(&gateway, VOICE, &json!({"text": "a", "voice": "alloy", "format": "midi"})).await;
    assert_eq!((answer.status, &answer.json()["param"]), (400, &json!("input.format")), "{}", answer.text());
}

/// No file of any kind of app is fetched from where it must not be, and none is read that is too long.
#[cfg(feature = "flows")]
#[tokio::test]
async fn files_come_from_public_addresses_and_are_bounded() {
    let gateway = Gateway::with(config(), &[("TIDEGATE_ALLOW_PRIVATE_UPSTREAMS", "0")]).await;
    let private = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/a.png", private.local_addr().unwrap());
    let long = data_uri("text/plain", &vec![b'a'; 20 * 1024 * 1024 + 1]);
    let context = json!([{"role": "user", "files": [url]}]);
    for (app, input, param) in [
        (MINI, json!({"prompt": "a", "images": ["data:image/gif;base64,R0lGODlh", url]}), "input.images.1"),
        (MINI, json!({"prompt": "a", "context": context}), "input.context.0.files.0"),
        (PAINTER, json!({"prompt": "a", "image": {"uri": url}}), "input.image"),
        (EARS, json!({"audio": url}), "input.audio"),
        (MINI, json!({"prompt": "a", "document": long}), "input.document"),
    ] {
        let answer = run(&gateway, app, &input).await;
        assert!(matches!(answer.status, 400 | 413), "{app}: {} {}", answer.status, answer.text());
        assert_eq!(answer.json()["param"], param, "{}", answer.text());
    }
    let touched = tokio::time::timeout(std::time::Duration::from_millis(50), private.accept()).await;
    assert!(touched.is_err(), "the address was connected to");
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn fields_of_the_vendors_language_models_are_taken() {
    let gateway = gateway().await;
    let input = json!({
        "text": "And now?", "system_prompt": "Be brief.", "temperature": 0.2, "top_p": 0.9, "max_tokens": 50,
        "context_size": 4096, "context": [{"role": "user", "text": "Low."}, {"role": "assistant", "text": "Yes."}],
        "images": [data_uri("image/gif", b"GIF89a")], "files": ["data:text/plain,ebb"],
    });
    let (_, task) = output(&gateway, MINI, &input).await;
    assert!(task["output"]["usage"]["total_tokens"].as_u64().unwrap() > 0, "{task}");
    let sent = gateway.sent(OWN).pop().unwrap();
    let roles = sent["messages"].as_array().unwrap().iter().map(|message| message["role"].as_str().unwrap());
    assert_eq!(roles.collect::<Vec<_>>(), ["system", "user", "assistant", "user"], "{sent}");
    let parts = &sent["messages"][3]["content"];
    assert_eq!(parts[0]["image_url"]["url"], data_uri("image/gif", b"GIF89a"));
    assert!(parts[1]["text"].as_str().unwrap().ends_with("And now?"), "{sent}");
    has(&sent, json!({"temperature": 0.2, "top_p": 0.9}));
    let tools = json!([{"type": "function", "function": {"name": "tide", "parameters": {"type": "object", "properties": {}}}}]);
    gateway.emulator.script(OWN, [harness::Behaviour::default()]);
    let input = json!({"prompt": "hello", "tools": tools, "tool_choice": {"mode": "none"}});
    output(&gateway, MINI, &input).await;
    has(&gateway.sent(OWN)[1], json!({"tools": tools, "tool_choice": "none"}));
    assert_eq!(gateway.emulator.violations(), []);
}

/// A PDF with one page that says this.
fn pdf(text: &str) -> Vec<u8> {
    pdf_with(text, "/WinAnsiEncoding", "")
}

/// The same, whose font has this encoding, and with a further object, the sixth.
fn pdf_with(text: &str, encoding: &str, more: &str) -> Vec<u8> {
    let content = format!("BT /F1 12 Tf ({text}) Tj ET");
    let objects = [
        "<</Type/Catalog/Pages 2 0 R>>".to_owned(),
        "<</Type/Pages/Kids[3 0 R]/Count 1>>".to_owned(),
        "<</Type/Page/Parent 2 0 R/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>".to_owned(),
        format!("<</Length {}>>\nstream\n{content}\nendstream", content.len()),
        format!("<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding{encoding}>>"),
        more.to_owned(),
    ];
    let (mut file, mut places) = ("%PDF-1.4\n".to_owned(), String::new());
    for (number, object) in objects.iter().enumerate() {
        places.push_str(&format!("{:010} 00000 n \n", file.len()));
        file.push_str(&format!("{} 0 obj\n{object}\nendobj\n", number + 1));
    }
    let start = file.len();
    file.push_str(&format!(
        "xref\n0 7\n0000000000 65535 f \n{places}trailer\n<</Size 7/Root 1 0 R>>\nstartxref\n{start}\n%%EOF\n"
    ));
    file.into_bytes()
}

/// A model that takes no PDF is given its text, which its client is told.
#[cfg(feature = "flows")]
#[tokio::test]
async fn the_text_of_a_pdf_goes_to_models_that_take_none() {
    let gateway = gateway().await;
    let uri = data_uri("application/pdf", &pdf("Revenue rose by 4 %."));
    let input = json!({"prompt": "Summarize", "document": {"uri": uri, "filename": "report.pdf"}});
    let (answer, _) = output(&gateway, LOCAL_MODEL, &input).await;
    let message = &answer.json()["messages"][0];
    has(message, json!({"code": "document_text_extracted", "/meta/pages": 1}));
    let sent = last_sent(&gateway, NODE);
    assert!(sent.contains("Revenue rose by 4 %.") && sent.contains("report.pdf"), "{sent}");
    assert!(!sent.contains("base64"), "{sent}");
    // A model that takes it is given the file itself, and nothing is said.
    let (answer, _) = output(&gateway, MINI, &input).await;
    assert_eq!(answer.json()["messages"], json!([]));
    let sent = last_sent(&gateway, OWN);
    assert!(sent.contains("application/pdf;base64"), "{sent}");
    let encrypted = b"%PDF-1.4\ntrailer\n<</Encrypt 5 0 R>>\n".as_slice();
    let deep = [b"%PDF-1.4\n1 0 obj\n".as_slice(), &b"[".repeat(400_000)].concat();
    for (bytes, why) in [(encrypted, "encrypted"), (&deep, "damaged"), (&pdf(" "), "without text")] {
        let input = json!({"prompt": "Summarize", "documents": [data_uri("application/pdf", bytes)]});
        let error = run(&gateway, LOCAL_MODEL, &input).await.must_be(422).json()["errors"][0].clone();
        assert_eq!(error["pointer"], "/input/documents/0", "{error}");
        assert!(error["message"].as_str().unwrap().contains(why), "{error}");
    }
}

/// A few bytes that make their reader fill all memory end its process and nothing else.
#[tokio::test]
async fn a_pdf_that_unfolds_without_end_takes_nothing_from_others() {
    let mut gateway = gateway().await;
    // Each of its codes stands for a text of half a kilobyte.
    let range = |number: usize| {
        let text = format!("{:04X}", 0x41 + number).repeat(256);
        format!("<{number:04X}0000> <{number:04X}FFFF> <{text}>\n")
    };
    let ranges: String = (0..20).map(range).collect();
    let map = format!(
        "/CIDInit /ProcSet findresource begin\n12 dict begin\nbegincmap\n/CMapType 2 def\n1 begincodespacerange\n\
         <00000000> <FFFFFFFF>\nendcodespacerange\n20 beginbfrange\n{ranges}endbfrange\nendcmap\n\
         CMapName currentdict /CMap defineresource pop\nend\nend"
    );
    let map = format!("<</Length {}>>\nstream\n{map}\nendstream", map.len());
    let bomb = data_uri("application/pdf", &pdf_with("a", "/Identity-H/ToUnicode 6 0 R", &map));
    let input = |document: &str| json!({"prompt": "Summarize", "document": document});
    let (before, _) = harness::process::resources(gateway.pid()).unwrap();
    for _ in 0..2 {
        run(&gateway, LOCAL_MODEL, &input(&bomb)).await.must_be(422);
    }
    let good = data_uri("application/pdf", &pdf("Revenue rose by 4 %."));
    let (answer, _) = output(&gateway, LOCAL_MODEL, &input(&good)).await;
    assert_eq!(answer.json()["messages"][0]["code"], "document_text_extracted");
    let (after, _) = harness::process::resources(gateway.pid()).unwrap();
    assert!(after < before + 32 * 1024 * 1024, "{before} bytes grew to {after}");
    // Nothing is left that the end would wait for.
    gateway.stop().await;
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn what_is_missing_is_told_before_anything_runs() {
    let gateway = Gateway::start().await;
    let problem = run(&gateway, VOICE, &json!({"text": "a", "voice": "alloy"})).await.must_be(412).json();
    let error = &problem["errors"][0];
    has(error, json!({"type": "integration", "key": "openai"}));
    assert_eq!(error["action"], json!({"type": "connect", "provider": "openai"}));
    assert!(error["message"].as_str().unwrap().contains("/v2/provider-credentials"));
    assert_eq!(gateway.emulator.journal().len(), 0);
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn apps_are_listed_with_their_schemas_in_each_envelope() {
    let gateway = gateway().await;
    let client = gateway.client();
    let (mut names, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/apps?limit=20&cursor={cursor}");
        let page = client.get(&path).await.unwrap().must_be(200).json()["data"].clone();
        for app in page["items"].as_array().unwrap() {
            assert!(app["input_schema"].is_object() && app["output_schema"].is_object(), "{app}");
            names.push(app["id"].as_str().unwrap().to_owned());
        }
        cursor = page["next_cursor"].as_str().unwrap().to_owned();
        if page["has_next"] == false {
            assert_eq!((&page["total_items"], &*cursor), (&json!(names.len()), ""));
            break;
        }
    }
    for app in [MINI, VECTORS, PAINTER, VOICE, EARS, RANKER, SORA, "acme/vectors", "tide-rank"] {
        assert!(names.iter().any(|name| name == app), "{app} is not in {names:?}");
    }
    assert!(names.is_sorted() && !names.iter().any(|name| name.contains("realtime")), "{names:?}");
    // Each listed app whose kind is known takes what its schema says.
    let shown = client.get(&format!("/apps/{VOICE}")).await.unwrap().json();
    let schema = &shown["data"]["version"]["input_schema"];
    assert_eq!(schema["required"], json!(["text", "voice"]), "{shown}");
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let wish = json!({"filters": [{"field": "category", "operator": "eq", "value": "video"}]});
    let page = client.post("/apps/list", &wish).await.unwrap().json();
    assert_eq!(page["data"]["items"][0]["id"], SORA, "{page}");
    let of = async |version: &str, path: &str| {
        gateway.client().header("x-api-version", version).get(path).await.unwrap().json()
    };
    has(&of("2", "/apps?search=whisper-1").await, json!({"total_items": 1, "/items/0/category": "audio"}));
    let first = of("1", "/v1/apps?limit=1").await;
    assert_eq!(first["success"], true, "{first}");
    assert_eq!(first["data"]["items"].as_array().unwrap().len(), 1, "{first}");
    for (path, status, code) in [
        ("/v1/apps/nobody/nothing", 404, "app_not_found"),
        ("/v1/apps?limit=1000", 400, "invalid_value"),
        ("/apps?cursor=%25", 400, "invalid_value"),
    ] {
        let answer = client.get(path).await.unwrap();
        assert_eq!((answer.status, &answer.json()["code"]), (status, &json!(code)), "{path}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    }
}

/// What a policy keeps from a key is not in its list either.
#[cfg(feature = "flows")]
#[tokio::test]
async fn only_what_a_key_may_run_is_listed() {
    let gateway = gateway().await;
    let policy = json!({"project_id": gateway.founded.project_id, "allowed_models": ["openai/*"]});
    gateway.make("/v2/policies", policy).await;
    let page = gateway.client().get("/v1/apps?limit=100").await.unwrap().json();
    let names: Vec<_> = page["data"]["items"].as_array().unwrap().iter().map(id_of).collect();
    assert!(
        names.contains(&MINI.to_owned()) && names.iter().all(|name| name.starts_with("openai/")),
        "{names:?}"
    );
    assert_eq!(gateway.client().get("/v1/apps/acme/vectors").await.unwrap().status, 404);
}

#[cfg(feature = "flows")]
#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_runs_an_app_and_saves_what_it_makes() {
    let gateway = gateway().await;
    let folder = gateway.directory().join("made");
    let save = folder.display().to_string();
    let cli = gateway.cli().env("TIDEGATE_API_KEY", &gateway.founded.api_key);
    let ran =
        cli.run(&["run", VOICE, "--input", "text=high tide", "--input", "voice=alloy", "--save", &save]).ok();
    assert!(ran.contains("audio  audio/mpeg") && ran.contains("audio.mp3"), "{ran}");
    assert!(!std::fs::read(folder.join("audio.mp3")).unwrap().is_empty());
    let report = gateway.directory().join("report.txt");
    std::fs::write(&report, "Revenue rose.").unwrap();
    let document = format!("document=@{}", report.display());
    let ran = cli.run(&["run", MINI, "--input", r#"{"prompt": "Summarize"}"#, "--input", &document]).ok();
    assert!(ran.contains("You said"), "{ran}");
    let sent = last_sent(&gateway, OWN);
    assert!(sent.contains("Revenue rose."), "{sent}");
}

/// The vendor's own client, unmodified, lists and reads apps.
#[cfg(feature = "sdk")]
#[tokio::test]
async fn the_vendors_client_lists_and_gets_apps() {
    let gateway = gateway().await;
    assert_eq!(drive("node".into(), workspace().join("tests/node/apps.mjs"), &gateway).await.held, 6);
}
