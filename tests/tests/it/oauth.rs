//! OAuth for MCP clients: the whole dance with the protocol's own client, and what is refused on the way.

use std::process::Stdio;

use harness::client::{Answer, Client};
use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

use crate::ask::{MINI, has, problem, with};
use crate::command::workspace;
use crate::gateway::{Gateway, row};
use crate::person::Person;

const REDIRECT: &str = "http://127.0.0.1:33418/callback";
/// The example of RFC 7636.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

async fn register(gateway: &Gateway, redirect: &str) -> Answer {
    let body = json!({"client_name": "a program", "redirect_uris": [redirect]});
    Client::new(&gateway.origin).post("/oauth/register", &body).await.unwrap()
}

/// What a program that has just registered asks a person for.
pub async fn wanted(gateway: &Gateway) -> Value {
    let registered = register(gateway, REDIRECT).await.must_be(201).json();
    json!({
        "client_id": registered["client_id"], "redirect_uri": REDIRECT, "response_type": "code", "state": "s",
        "code_challenge": CHALLENGE, "code_challenge_method": "S256", "project_id": gateway.founded.project_id,
    })
}

fn encoded(fields: &[(&str, &str)]) -> String {
    let mut url = url::Url::parse("http://a").unwrap();
    url.query_pairs_mut().extend_pairs(fields);
    url.query().unwrap().to_owned()
}

async fn form(gateway: &Gateway, path: &str, fields: &[(&str, &str)]) -> Answer {
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    Client::new(&gateway.origin).call(Method::POST, path, &headers, encoded(fields)).await.unwrap()
}

fn refused(answer: &Answer, error: &str) {
    assert_eq!((answer.status, &answer.json()["error"]), (400, &json!(error)), "{}", answer.text());
}

fn parameter(address: &str, name: &str) -> String {
    let url: url::Url = address.parse().unwrap();
    url.query_pairs().find(|(other, _)| other == name).map(|(_, value)| value.into_owned()).unwrap()
}

/// Whether somebody agrees to what is wanted.
fn decided(body: &Value, approve: bool) -> Value {
    with(body.clone(), json!({"approve": approve}))
}

/// A code of this person's consent, and the client that it is for.
async fn code(gateway: &Gateway, person: &Person) -> (String, String) {
    let body = wanted(gateway).await;
    let consent = person.post("/v2/oauth/consent", decided(&body, true)).await.must_be(200);
    let to = consent.json()["redirect_to"].as_str().unwrap().to_owned();
    assert!(to.starts_with(REDIRECT) && parameter(&to, "state") == "s", "{to}");
    assert_eq!(parameter(&to, "iss"), gateway.origin);
    (parameter(&to, "code"), body["client_id"].as_str().unwrap().to_owned())
}

async fn redeem(gateway: &Gateway, code: &str, client: &str, more: &[(&str, &str)]) -> Answer {
    let mut fields = vec![("grant_type", "authorization_code"), ("code", code), ("client_id", client)];
    fields.extend([("redirect_uri", REDIRECT), ("code_verifier", VERIFIER)]);
    for (name, value) in more {
        fields.retain(|(other, _)| other != name);
        fields.push((name, value));
    }
    form(gateway, "/oauth/token", &fields).await
}

async fn refresh(gateway: &Gateway, token: &str, client: &str) -> Answer {
    let fields = [("grant_type", "refresh_token"), ("refresh_token", token), ("client_id", client)];
    form(gateway, "/oauth/token", &fields).await
}

fn text<'a>(tokens: &'a Value, name: &str) -> &'a str {
    tokens[name].as_str().unwrap()
}

async fn works(gateway: &Gateway, access: &str) -> bool {
    gateway.with_key(access).get("/v1/models").await.unwrap().status == 200
}

#[cfg(feature = "sdk")]
#[tokio::test]
async fn the_protocols_own_client_signs_in_calls_and_renews() {
    let gateway = Gateway::with_own().await;
    let owner = gateway.owner().await;
    let mut command = tokio::process::Command::new("node");
    command.arg(workspace().join("tests/node/mcp_oauth.mjs")).arg(format!("{}/mcp", gateway.origin));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut held = 0;
    while let Some(line) = tokio::time::timeout(crate::WITHIN, lines.next_line()).await.unwrap().unwrap() {
        let Some(address) = line.strip_prefix("go ") else {
            held += usize::from(line.starts_with("ok "));
            continue;
        };
        let address: url::Url = address.parse().unwrap();
        let sent = address.query_pairs().map(|(name, value)| (name.into_owned(), json!(value)));
        let body = Value::Object(sent.collect());
        let seen = owner.post("/v2/oauth/consent", body.clone()).await.json();
        assert_eq!((&seen["client_name"], &seen["status"]), (&json!("driver"), &json!("pending")), "{seen}");
        let consent = with(decided(&body, true), json!({"project_id": gateway.founded.project_id}));
        let consent = owner.post("/v2/oauth/consent", consent).await.json();
        let back = format!("{}\n", consent["redirect_to"].as_str().unwrap());
        child.stdin.as_mut().unwrap().write_all(back.as_bytes()).await.unwrap();
    }
    assert!(child.wait().await.unwrap().success());
    assert_eq!(held, 3);
    let keys = owner.get("/v2/api-keys").await.json();
    assert_eq!(row(&keys["data"], "name", "driver (signed in)")["scopes"], json!(["inference"]), "{keys}");
}

#[cfg(feature = "sdk")]
#[tokio::test]
async fn a_client_without_a_key_is_told_where_it_gets_one() {
    let gateway = Gateway::start().await;
    let client = Client::new(&gateway.origin);
    let answer = client.post("/mcp", &json!({})).await.unwrap();
    problem(&answer, 401, "missing_api_key");
    let named = answer.header("www-authenticate").unwrap();
    let at = named.strip_prefix("Bearer resource_metadata=\"").unwrap().trim_end_matches('"');
    let resource = client.get(at.strip_prefix(&gateway.origin).unwrap()).await.unwrap().json();
    let mcp = format!("{}/mcp", gateway.origin);
    has(&resource, json!({"resource": mcp, "authorization_servers": [gateway.origin]}));
    let server = client.get("/.well-known/oauth-authorization-server").await.unwrap().json();
    has(&server, json!({"issuer": gateway.origin, "code_challenge_methods_supported": ["S256"]}));
    for redirect in ["http://a.example/", "javascript://x/%0aalert(1)", "nonsense"] {
        refused(&register(&gateway, redirect).await, "invalid_redirect_uri");
    }
    let none = client.post("/oauth/register", &json!({"redirect_uris": []})).await.unwrap();
    refused(&none, "invalid_redirect_uri");
    refused(&client.post("/oauth/register", &json!([])).await.unwrap(), "invalid_client_metadata");
    assert_eq!(client.get("/oauth/token").await.unwrap().status, 404);
}

#[cfg(feature = "sdk")]
#[tokio::test]
async fn a_person_is_asked_for_what_is_registered_and_may_say_no() {
    let gateway = Gateway::start().await;
    let owner = gateway.owner().await;
    let body = wanted(&gateway).await;
    let consent = "/v2/oauth/consent";
    for (name, value) in [
        ("client_id", json!("nobody.x")),
        ("redirect_uri", json!("https://evil.example/")),
        ("code_challenge", json!("short")),
        ("code_challenge_method", json!("plain")),
        ("response_type", json!("token")),
        ("scope", json!("admin")),
        ("resource", json!("https://elsewhere.example/mcp")),
        ("state", json!("x".repeat(1_025))),
    ] {
        let answer = owner.post(consent, with(decided(&body, true), json!({name: value}))).await;
        assert_eq!(answer.status, 400, "{name}: {}", answer.text());
        assert!(!answer.text().contains("redirect_to"), "{name}");
    }
    let denied = owner.post(consent, decided(&body, false)).await.json();
    assert_eq!(parameter(denied["redirect_to"].as_str().unwrap(), "error"), "access_denied");
    let mut yes = decided(&body, true);
    let viewer = gateway.member(&owner.client(), "look@example.com", "viewer").await;
    problem(&viewer.post(consent, yes.clone()).await, 403, "insufficient_role");
    problem(&gateway.admin().post(consent, &yes).await.unwrap(), 403, "person_needed");
    yes["project_id"] = json!("prj_01900000000070008000000000000000");
    problem(&owner.post(consent, yes).await, 404, "not_found");
}

/// Who approves programs again and again is told to wait, and keeps nobody else from a program or a device.
#[tokio::test]
async fn what_one_person_approves_without_end_closes_nothing_for_others() {
    let gateway = Gateway::start().await;
    let (owner, consent) = (gateway.owner().await, "/v2/oauth/consent");
    let another = gateway.member(&owner.client(), "another@example.com", "developer").await;
    let yes = decided(&wanted(&gateway).await, true);
    for _ in 0..10 {
        owner.post(consent, yes.clone()).await.must_be(200);
    }
    let refused = owner.post(consent, yes.clone()).await;
    problem(&refused, 429, "too_many_attempts");
    assert!(refused.header("retry-after").is_some());
    assert_eq!(another.post(consent, yes).await.status, 200);
    let device = gateway.browser().post("/v2/device", &json!({"client_name": "laptop"})).await.unwrap();
    assert!(device.status < 300, "{}", device.text());
}

#[cfg(feature = "sdk")]
#[tokio::test]
async fn a_code_is_redeemed_once_by_its_client_with_its_verifier() {
    let gateway = Gateway::start().await;
    let owner = gateway.owner().await;
    let (code, client) = code(&gateway, &owner).await;
    let other = register(&gateway, "http://127.0.0.1:1/other").await.json();
    let other = text(&other, "client_id").to_owned();
    for (more, error) in [
        (("code_verifier", "x".repeat(43)), "invalid_grant"),
        (("client_id", other), "invalid_grant"),
        (("redirect_uri", "https://evil.example/".to_owned()), "invalid_grant"),
        (("code", format!("{code}x")), "invalid_grant"),
        (("resource", "https://elsewhere.example/".to_owned()), "invalid_target"),
        (("grant_type", "password".to_owned()), "unsupported_grant_type"),
        (("code_verifier", String::new()), "invalid_request"),
    ] {
        refused(&redeem(&gateway, &code, &client, &[(more.0, &more.1)]).await, error);
    }
    let resource = format!("{}/mcp", gateway.origin);
    let tokens = redeem(&gateway, &code, &client, &[("resource", &resource)]).await;
    assert_eq!((tokens.status, tokens.header("cache-control")), (200, Some("no-store")), "{}", tokens.text());
    let tokens = tokens.json();
    has(&tokens, json!({"token_type": "Bearer", "scope": "inference"}));
    let access = text(&tokens, "access_token");
    assert!(works(&gateway, access).await);
    problem(&gateway.with_key(access).get("/v2/usage").await.unwrap(), 403, "insufficient_scope");
    // The code again: somebody else has it, so what it gave ends.
    refused(&redeem(&gateway, &code, &client, &[]).await, "invalid_grant");
    assert!(!works(&gateway, access).await);
}

#[cfg(feature = "sdk")]
#[tokio::test]
async fn a_refresh_token_that_comes_twice_ends_the_key() {
    let gateway = Gateway::with_own().await;
    let owner = gateway.owner().await;
    let (code, client) = code(&gateway, &owner).await;
    let first = redeem(&gateway, &code, &client, &[]).await.json();
    refused(&refresh(&gateway, text(&first, "refresh_token"), "another").await, "invalid_grant");
    refused(&refresh(&gateway, text(&first, "access_token"), &client).await, "invalid_grant");
    let second = refresh(&gateway, text(&first, "refresh_token"), &client).await.json();
    assert!(!works(&gateway, text(&first, "access_token")).await, "it is replaced");
    let access = text(&second, "access_token");
    assert!(works(&gateway, access).await);
    let ran = json!({"app": MINI, "input": {"prompt": "hello"}});
    assert_eq!(gateway.with_key(access).post("/v1/run", &ran).await.unwrap().status, 200);
    refused(&refresh(&gateway, text(&first, "refresh_token"), &client).await, "invalid_grant");
    assert!(!works(&gateway, access).await, "a stolen refresh token ends the key");
    refused(&refresh(&gateway, text(&second, "refresh_token"), &client).await, "invalid_grant");
}

#[cfg(feature = "sdk")]
#[tokio::test]
async fn a_key_ends_by_its_client_and_with_its_person() {
    let gateway = Gateway::start().await;
    let owner = gateway.owner().await;
    for name in ["access_token", "refresh_token"] {
        let (code, client) = code(&gateway, &owner).await;
        let tokens = redeem(&gateway, &code, &client, &[]).await.json();
        assert!(works(&gateway, text(&tokens, "access_token")).await);
        assert_eq!(form(&gateway, "/oauth/revoke", &[("token", text(&tokens, name))]).await.status, 200);
        assert!(!works(&gateway, text(&tokens, "access_token")).await, "{name}");
    }
    // What is no token of OAuth's is not ended by whoever has it.
    let (key, _) = gateway.key(json!({"name": "plain", "scopes": ["inference"]})).await;
    for token in [&*key, "nonsense"] {
        assert_eq!(form(&gateway, "/oauth/revoke", &[("token", token)]).await.status, 200);
    }
    assert!(works(&gateway, &key).await);
    let member = gateway.member(&owner.client(), "dev@example.com", "developer").await;
    let (code, client) = code(&gateway, &member).await;
    let tokens = redeem(&gateway, &code, &client, &[]).await.json();
    let path = format!("/v2/members/{}?keys=revoke", member.id);
    assert_eq!(owner.client().delete(&path).await.unwrap().status, 204);
    assert!(!works(&gateway, text(&tokens, "access_token")).await);
    refused(&refresh(&gateway, text(&tokens, "refresh_token"), &client).await, "invalid_grant");
}
