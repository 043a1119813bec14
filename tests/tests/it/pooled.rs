//! The operator's accounts, which several workspaces share: objects stored there can't be referenced, one
//! tenant's request can't disable an account for the others, and the account's identity is not revealed.

use domain::{Grammar, Operation};
use harness::Behaviour;
use serde_json::{Value, json};

use crate::ask::{CHAT, MINI, has, question, refused, trace_of, until_status, with};
use crate::gateway::{Gateway, OWN, OWN_SECOND, POOL, POOL_SECOND, id_of};
use crate::wait::found;

const RESPONSES: &str = "/v1/responses";
const MESSAGES: &str = "/v1/messages";
const CLAUDE: &str = "anthropic/claude-haiku-4-5";
const GEMINI: &str = "/v1beta/models/gemini-2.5-flash:generateContent";

fn chat_with(more: Value) -> Value {
    with(question(MINI), more)
}

fn part(part: Value) -> Value {
    let content = json!([{"type": "text", "text": "what is it"}, part]);
    chat_with(json!({"messages": [{"role": "user", "content": content}]}))
}

fn input(more: Value) -> Value {
    with(json!({"model": MINI, "input": "hello"}), more)
}

fn message(more: Value) -> Value {
    with(json!({"model": CLAUDE, "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}), more)
}

fn contents(part: Value) -> Value {
    json!({"contents": [{"role": "user", "parts": [{"text": "what is it"}, part]}]})
}

type Named = (&'static str, Value, &'static str);

/// Requests that reference a stored object, and the field that does.
fn named_in_chat_and_responses() -> Vec<Named> {
    let image = |url: &str| part(json!({"type": "image_url", "image_url": {"url": url}}));
    let tool = |tool: Value| input(json!({"tools": [tool]}));
    let spoken =
        json!([{"role": "assistant", "audio": {"id": "audio_1"}}, {"role": "user", "content": "on"}]);
    let search = json!({"type": "file_search", "vector_store_ids": ["vs_1"]});
    let container = json!({"type": "container_reference", "container_id": "cntr_1"});
    let shell = json!({"type": "shell", "environment": container});
    let mail = json!({"type": "mcp", "server_label": "mail", "connector_id": "connector_gmail"});
    let drawn = json!({"input": [{"type": "image_generation_call", "id": "ig_1"}]});
    let interpreter = json!({"type": "code_interpreter", "container": "cntr_1"});
    vec![
        (CHAT, chat_with(json!({"messages": spoken})), "messages[0].audio.id"),
        (CHAT, image("gs://operator-private/plan.png"), "messages[0].content[1].image_url.url"),
        (CHAT, image("http://example.com/a.png"), "messages[0].content[1].image_url.url"),
        (RESPONSES, tool(search), "tools[0].vector_store_ids"),
        (RESPONSES, tool(interpreter), "tools[0].container"),
        (RESPONSES, tool(shell), "tools[0].environment.container_id"),
        (RESPONSES, tool(mail), "tools[0].connector_id"),
        (RESPONSES, input(drawn), "input[0]"),
    ]
}

fn named_elsewhere(store: &str) -> Vec<Named> {
    let with_tool = |tool: Value| with(contents(json!({"text": "x"})), json!({"tools": [tool]}));
    let file = |uri: &str| contents(json!({"fileData": {"fileUri": uri}}));
    let document = json!({"type": "document", "source": {"type": "url", "url": "s3://operator/a.pdf"}});
    let turn = json!({"role": "user", "content": [document]});
    let payroll = json!({"mimeType": "application/pdf", "fileUri": "gs://operator-private/payroll.pdf"});
    let snake = contents(json!({"file_data": {"file_uri": "files/abc"}}));
    let google = "https://generativelanguage.googleapis.com/v1beta/files/abc";
    let cached = with(contents(json!({"text": "x"})), json!({"cachedContent": "cachedContents/abc"}));
    let search = json!({"fileSearch": {"fileSearchStoreNames": ["fileSearchStores/a"]}});
    let retrieval = json!({"retrieval": {"vertexAiSearch": {"datastore": "projects/p/dataStores/d"}}});
    let uri = "contents[0].parts[1].fileData.fileUri";
    vec![
        (MESSAGES, message(json!({"container": "container_1"})), "container"),
        (MESSAGES, message(json!({"messages": [turn]})), "messages[0].content[0].source.url"),
        (GEMINI, contents(json!({"fileData": payroll})), uri),
        (GEMINI, snake, "contents[0].parts[1].file_data.file_uri"),
        (GEMINI, file(google), uri),
        (GEMINI, file(&format!("{store}/v1beta/files/abc")), uri),
        (GEMINI, cached, "cachedContent"),
        (GEMINI, with_tool(search), "tools[0].fileSearch"),
        (GEMINI, with_tool(retrieval), "tools[0].retrieval"),
    ]
}

#[tokio::test]
async fn what_an_account_keeps_is_named_by_nobody_in_any_grammar() {
    let gateway = Gateway::start().await;
    for provider in ["openai", "anthropic", "gemini"] {
        let account = gateway.account(provider, POOL).await;
        // Otherwise unpriced tools are refused before their references are checked.
        gateway.patch(&format!("/v2/accounts/{account}"), json!({"allow_unpriced": true})).await;
    }
    let store = gateway.emulator.base_url().replace("http://", "https://");
    let named = [named_in_chat_and_responses(), named_elsewhere(&store)].concat();
    for (path, body, param) in &named {
        let answer = gateway.client().post(path, body).await.unwrap();
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
        let text = answer.text();
        assert!(text.contains(&format!("{param} refers to")), "{param}: {text}");
        assert!(text.contains("your own credential"), "{text}");
    }
    let answer = gateway.client().post(CHAT, &chat_with(json!({"stored_thing": "payroll"}))).await.unwrap();
    assert_eq!(refused(&answer, 400, "unknown_field")["param"], "stored_thing");
    assert_eq!(gateway.calls(POOL).len(), 0, "nothing was sent");
    // With the customer's own credential, stored objects may be referenced.
    gateway.credential("openai", OWN).await;
    for (path, body, _) in named.iter().filter(|(path, _, _)| [CHAT, RESPONSES].contains(path)) {
        let sent = gateway.calls(OWN).len();
        gateway.client().post(path, body).await.unwrap();
        assert_eq!(gateway.calls(OWN).len(), sent + 1, "{body}");
    }
}

/// The field tables for shared accounts are complete: they classify every field that a vendor's emulator
/// knows.
#[test]
fn every_field_that_a_vendor_knows_is_sorted() {
    let seat =
        dialects::SharedAccount { is_forwarded: true, is_exchanged: &|_| false, is_own_host: &|_| false };
    let unsorted: Vec<_> = harness::known_fields()
        .into_iter()
        .filter(|field| {
            let nest = |inner: Value, name: &&str| json!({*name: inner});
            let body = field.path.iter().rev().fold(json!("x"), nest).to_string();
            let grammar = Grammar::ALL.into_iter().find(|grammar| grammar.as_str() == field.grammar).unwrap();
            let operations = [Operation::Chat, Operation::Embed, Operation::Count].into_iter();
            let operation = operations.into_iter().find(|of| of.as_str() == field.operation).unwrap();
            let checked = dialects::check_shared(grammar, operation, body.as_bytes(), &seat);
            checked.is_err_and(|objection| {
                matches!(objection.reason, dialects::Reason::Unknown | dialects::Reason::Unread)
            })
        })
        .collect();
    assert!(unsorted.is_empty(), "{unsorted:?}");
    assert!(harness::known_fields().len() > 200, "the emulators' tables are not found");
}

#[tokio::test]
async fn what_names_nothing_goes_to_the_pool_as_it_came() {
    let gateway = Gateway::start().await;
    gateway.account("openai", POOL).await;
    let image = json!({"url": "https://example.com/a.png", "detail": "low"});
    let parameters = json!({"type": "object", "properties": {"file_id": {"type": "string"}}});
    let function = json!({"name": "read", "parameters": parameters});
    for body in [
        part(json!({"type": "image_url", "image_url": image})),
        chat_with(json!({"tools": [{"type": "function", "function": function}]})),
        chat_with(json!({"metadata": {"file_id": "file-abc"}, "store": true, "service_tier": "default"})),
    ] {
        gateway.chat_ok(&body).await;
        let sent = gateway.calls(POOL).pop().unwrap().json();
        assert_eq!((&sent["messages"], &sent["tools"]), (&body["messages"], &body["tools"]));
    }
}

#[tokio::test]
async fn nobody_answers_later_on_an_account_of_the_pool() {
    let gateway = Gateway::start().await;
    gateway.account("openai", POOL).await;
    let streamed = input(json!({"background": true, "stream": true}));
    let answer = gateway.client().post(RESPONSES, &streamed).await.unwrap();
    assert_eq!(refused(&answer, 400, "unsupported_field")["param"], "stream");
    let answer = gateway.client().post(CHAT, &chat_with(json!({"deferred": true}))).await.unwrap();
    refused(&answer, 400, "background_needs_own_credential");
    assert_eq!(gateway.calls(POOL).len(), 0, "nothing was sent");
    // The gateway makes it, and the provider answers at once and stores nothing.
    let later = input(json!({"background": true}));
    let answer = gateway.client().post(RESPONSES, &later).await.unwrap().must_be(200);
    until_status(&gateway.client(), &format!("{RESPONSES}/{}", id_of(&answer.json())), "completed").await;
    let sent = gateway.calls(POOL)[0].json();
    assert_eq!((sent.get("background"), &sent["store"]), (None, &json!(false)), "{sent}");
    gateway.credential("openai", OWN).await;
    gateway.client().post(RESPONSES, &later).await.unwrap().must_be(200);
    assert_eq!(gateway.calls(OWN).len(), 1);
}

fn restricted() -> Behaviour {
    let message =
        "You have insufficient permissions for this operation. Missing scopes: api.model.moderation.";
    Behaviour::status(401).code("missing_scope").message(message)
}

/// A key that lacks one permission still serves everything else, for every tenant.
#[cfg(feature = "control")]
#[tokio::test]
async fn one_tenants_refusal_takes_an_account_from_nobody() {
    let gateway = Gateway::start().await;
    let secrets = [POOL, POOL_SECOND, OWN_SECOND];
    for secret in secrets {
        gateway.account("openai", secret).await;
    }
    let first = gateway.with_key(&gateway.workspace("a").await.api_key);
    let second = gateway.with_key(&gateway.workspace("b").await.api_key);
    let call_count = || secrets.iter().map(|secret| gateway.calls(secret).len()).sum::<usize>();
    let moderation = json!({"model": "openai/omni-moderation-latest", "input": "x"});
    let unclear = Behaviour::status(401).code("unclear").message("Unauthorized.");
    let forbidden = Behaviour::status(403);
    for (behaviour, is_permission) in [(restricted(), true), (forbidden, true), (unclear, false)] {
        for secret in secrets {
            gateway.emulator.script(secret, [behaviour.clone()]);
        }
        let before = call_count();
        let answer = first.post("/v1/moderations", &moderation).await.unwrap();
        assert!(answer.status >= 400, "{behaviour:?}: {}", answer.text());
        let tries = call_count() - before;
        assert!(!is_permission || tries == 2, "{behaviour:?}: {tries} accounts were asked");
        // Leftover scripted answers must not reach the next tenant.
        gateway.emulator.clear_scripts();
        let answer = second.post(CHAT, &question(MINI)).await.unwrap();
        assert_eq!(answer.status, 200, "{behaviour:?}: {}", answer.text());
    }
}

/// A revoked key is not used again, by any tenant.
#[cfg(feature = "control")]
#[tokio::test]
async fn an_account_whose_key_is_revoked_is_left_alone_by_all() {
    let gateway = Gateway::start().await;
    gateway.account("openai", POOL).await;
    gateway.emulator.script(POOL, [Behaviour::status(401)]);
    let moderation = json!({"model": "openai/omni-moderation-latest", "input": "x"});
    gateway.client().post("/v1/moderations", &moderation).await.unwrap();
    let answer = gateway.chat(&question(MINI)).await.must_be(502);
    assert!(!answer.text().contains("acc_"), "{}", answer.text());
    assert_eq!(gateway.calls(POOL).len(), 1, "it was not asked again");
}

#[cfg(feature = "control")]
#[tokio::test]
async fn whose_account_it_is_is_not_told() {
    let gateway = Gateway::start().await;
    let account = gateway.account("openai", POOL).await;
    let made = gateway.workspace("a").await;
    let (client, theirs) = (gateway.with_key(&made.api_key), gateway.with_key(&made.admin_key));
    let words = "Limit reached for organization org-Operator1 in project proj_Operator2: try again in 20s.";
    for (status, is_passed_on) in
        [(400, true), (401, false), (403, false), (404, false), (429, false), (500, true)]
    {
        gateway.emulator.script(POOL, [Behaviour::status(status).message(words).always()]);
        let answer = client.post(CHAT, &question(MINI)).await.unwrap();
        let text = answer.text();
        assert!(answer.status >= 400, "{text}");
        for hidden in ["org-Operator1", "proj_Operator2", "acc_", &account] {
            assert!(!text.contains(hidden), "{status}: {text}");
        }
        assert_eq!(text.contains("Limit reached"), is_passed_on, "{status}: {text}");
        gateway.emulator.clear_scripts();
        // Verification by the operator clears the failures recorded against the account.
        gateway.admin().post(&format!("/v2/accounts/{account}/verify"), &json!({})).await.unwrap();
    }
    let answer = client.post(CHAT, &question(MINI)).await.unwrap().must_be(200);
    let trace = trace_of(&answer);
    let plan = theirs.post("/v2/plan", &json!({"model": MINI})).await.unwrap();
    let mut views = vec![plan.json()];
    for path in [&*format!("/v2/requests/{trace}"), "/v2/requests", "/v2/records"] {
        let view = found(path, async || {
            let answer = theirs.get(path).await.unwrap();
            (answer.status == 200 && answer.text().contains(&trace)).then(|| answer.json())
        });
        views.push(view.await);
    }
    for view in &views {
        assert!(!view.to_string().contains("acc_") && view.to_string().contains("\"managed\""), "{view}");
    }
    // The operator still sees which account it was.
    has(&gateway.plan(json!({"model": MINI})).await["chosen"], json!({"principal": account}));
    let audit = theirs.get("/v2/audit").await.unwrap().text();
    let keys = gateway.get("/v2/api-keys").await;
    let is_operators =
        |key: &&Value| key["scopes"].as_array().is_some_and(|all| all.contains(&json!("operator")));
    let operators = keys["data"].as_array().unwrap().iter().find(is_operators).unwrap();
    assert!(!audit.contains(operators["id"].as_str().unwrap()), "{audit}");
    assert!(audit.contains("\"operator\""), "{audit}");
}
