//! Attacks through a browser: session fixation, cross-site requests, DNS rebinding, and frames.

use harness::client::{Answer, Client};
use http::Method;
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::problem;
use crate::gateway::{Gateway, config};
use crate::person::{Person, cookie_of, token_of};

const JSON: (&str, &str) = ("content-type", "application/json");

fn link(gateway: &Gateway) -> String {
    gateway.cli().run(&["login", "--link"]).ok().trim().to_owned()
}

/// What signs in by a new link.
fn sign_in(gateway: &Gateway) -> Value {
    json!({"token": token_of(&link(gateway))})
}

#[tokio::test]
async fn a_sign_in_begins_a_session_that_nobody_knew_before() {
    let gateway = Gateway::start().await;
    let planted = "tidegate_session=cGxhbnRlZC1ieS1zb21lYm9keS1lbHNlLXRoaXMtb25lLQ";
    let body = sign_in(&gateway);
    let answer = gateway.browser().header("cookie", planted).post("/v2/sign-in/link", &body).await.unwrap();
    let first = Person::of(&gateway.origin, &answer);
    assert_ne!(first.cookie, planted);
    let with_planted = Client::new(&gateway.origin).header("cookie", planted);
    problem(&with_planted.get("/v2/me").await.unwrap(), 401, "session_over");
    // Signing in over an existing session ends that session, an attacker's included.
    let body = sign_in(&gateway);
    let second = Person::of(&gateway.origin, &first.client().post("/v2/sign-in/link", &body).await.unwrap());
    assert_ne!(second.cookie, first.cookie);
    problem(&first.get("/v2/me").await, 401, "session_over");
    // Two cookies with the same name: one of them is planted, and the gateway can't know which.
    let both = Client::new(&gateway.origin).header("cookie", format!("{}; {planted}", second.cookie));
    problem(&both.get("/v2/me").await.unwrap(), 401, "ambiguous_session");
    // After signing out, the cookie is worthless wherever it was copied.
    let out = second.post("/v2/sign-out", json!({})).await.must_be(204);
    assert_eq!(cookie_of(&out), "tidegate_session=");
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"), "{out:?}");
    problem(&second.get("/v2/me").await, 401, "session_over");
}

#[tokio::test]
async fn a_cookie_is_the_browsers_alone() {
    let gateway = Gateway::start().await;
    let body = sign_in(&gateway);
    let plain = gateway.browser().post("/v2/sign-in/link", &body).await.unwrap();
    let cookie = plain.header("set-cookie").unwrap();
    for attribute in ["; Path=/", "; HttpOnly", "; SameSite=Strict", "; Max-Age=604800"] {
        assert!(cookie.contains(attribute), "{attribute} is missing: {cookie}");
    }
    assert!(!cookie.contains("Secure") && !cookie.contains("Domain"), "{cookie}");
    assert_eq!(cookie.split(';').next().unwrap().len(), "tidegate_session=".len() + 43, "256 bits");
    let body = sign_in(&gateway);
    let proxied = gateway.browser().header("x-forwarded-proto", "https");
    let proxied = proxied.post("/v2/sign-in/link", &body).await.unwrap();
    let hosted = proxied.header("set-cookie").unwrap();
    // A browser accepts this cookie name from this host alone, and over https alone.
    assert!(hosted.starts_with("__Host-tidegate_session=") && hosted.ends_with("; Secure"), "{proxied:?}");
    assert!(hosted.contains("; Path=/;") && !hosted.contains("Domain"), "{hosted}");
    let over_https =
        |cookie: &str| gateway.browser().header("x-forwarded-proto", "https").header("cookie", cookie);
    over_https(&cookie_of(&proxied)).get("/v2/me").await.unwrap().must_be(200);
    // A cookie that was set or planted over http is not a session over https.
    let planted = cookie_of(&proxied).replace("__Host-", "");
    problem(&over_https(&planted).get("/v2/me").await.unwrap(), 401, "missing_api_key");
    // A key takes precedence over a cookie; a cookie does not authenticate routes that people may not call.
    let person = Person::of(&gateway.origin, &proxied);
    let both = person.client().bearer(&gateway.founded.api_key);
    assert!(both.get("/v2/me").await.unwrap().json()["key"].is_object());
    person.post("/v1/chat/completions", json!({"model": "x", "messages": []})).await.must_be(401);
}

async fn forged(gateway: &Gateway, headers: &[(&str, &str)], method: Method, path: &str) -> Answer {
    let headers: Vec<_> = headers.iter().copied().chain([JSON]).collect();
    let client = Client::new(&gateway.origin).within(WITHIN);
    client.call(method, path, &headers, json!({"name": "forged"}).to_string()).await.unwrap()
}

#[tokio::test]
async fn a_page_of_another_origin_changes_nothing() {
    let gateway = Gateway::start().await;
    let (owner, other) = (gateway.owner().await, gateway.owner().await);
    let (origin, cookie, csrf) = (gateway.origin.as_str(), owner.cookie.as_str(), owner.csrf.as_str());
    let evil = "http://127.0.0.1:9";
    let mut other_site = vec![("cookie", cookie), ("x-tidegate-csrf", csrf), ("origin", origin)];
    other_site.push(("sec-fetch-site", "same-site"));
    for (code, headers) in [
        // The cookie alone, which is all that another page's form can make a browser send.
        ("csrf_refused", vec![("cookie", cookie), ("origin", origin)]),
        ("csrf_refused", vec![("cookie", cookie), ("origin", origin), ("x-tidegate-csrf", "")]),
        ("csrf_refused", vec![("cookie", cookie), ("origin", origin), ("x-tidegate-csrf", "guessed")]),
        ("csrf_refused", vec![("cookie", cookie), ("origin", origin), ("x-tidegate-csrf", &other.csrf)]),
        // Another origin, whatever else it knows.
        ("cross_origin", vec![("cookie", cookie), ("x-tidegate-csrf", csrf), ("origin", evil)]),
        ("cross_origin", vec![("cookie", cookie), ("x-tidegate-csrf", csrf), ("origin", "null")]),
        ("cross_origin", vec![("cookie", cookie), ("x-tidegate-csrf", csrf)]),
        ("cross_origin", other_site),
    ] {
        for (method, path) in [
            (Method::POST, "/v2/projects"),
            (Method::PATCH, "/v2/me"),
            (Method::POST, "/v2/sign-out"),
            (Method::DELETE, "/v2/members/mem_01900000000070008000000000000000"),
        ] {
            problem(&forged(&gateway, &headers, method, path).await, 403, code);
        }
    }
    let projects = gateway.get("/v2/projects").await;
    assert_eq!(projects["data"].as_array().unwrap().len(), 1, "{projects}");
    // Nor can a cross-site page read, if the browser reports the site.
    let read = [("cookie", cookie), ("sec-fetch-site", "cross-site")];
    let client = Client::new(&gateway.origin);
    problem(&client.call(Method::GET, "/v2/me", &read, "").await.unwrap(), 403, "cross_origin");
    // Nor can it sign its visitor in as another person.
    let body = sign_in(&gateway);
    let answer = Client::new(origin).header("origin", evil).post("/v2/sign-in/link", &body).await.unwrap();
    problem(&answer, 403, "cross_origin");
    assert!(answer.header("set-cookie").is_none());
    // No answer grants another origin read access.
    let reading = Client::new(origin).header("origin", evil).header("cookie", cookie);
    let answer = reading.get("/v2/me").await.unwrap();
    assert!(answer.headers.keys().all(|name| !name.as_str().starts_with("access-control")), "{answer:?}");
    let flight = client.call(Method::OPTIONS, "/v2/projects", &[("origin", evil)], "").await.unwrap();
    problem(&flight, 401, "missing_api_key");
    let form =
        [("cookie", cookie), ("origin", origin), ("x-tidegate-csrf", csrf), ("content-type", "text/plain")];
    let answer = client.call(Method::POST, "/v2/projects", &form, "{\"name\":\"x\"}").await.unwrap();
    problem(&answer, 415, "unsupported_media_type");
}

/// DNS rebinding: with a foreign name that resolves to this address, the page and this gateway share an
/// origin in the browser.
#[tokio::test]
async fn a_name_that_is_not_ours_gets_nowhere() {
    let gateway = Gateway::with(config(), &[("TIDEGATE_PUBLIC_URL", "https://gate.example")]).await;
    let owner = gateway.owner().await;
    let port = gateway.address().port();
    let as_host = async |host: String, origin: String, path: &str, method: Method, body: String| {
        let headers = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nSec-Fetch-Site: same-origin\r\nCookie: {}\r\n\
             X-Tidegate-CSRF: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            owner.cookie,
            owner.csrf,
            body.len()
        );
        let bytes = harness::raw::exchange(gateway.address(), headers, WITHIN).await.unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let evil = format!("rebound.example:{port}");
    let page = format!("http://{evil}");
    for (method, path) in
        [(Method::GET, "/v2/me"), (Method::GET, "/v2/api-keys"), (Method::POST, "/v2/projects")]
    {
        let response = as_host(evil.clone(), page.clone(), path, method, "{\"name\":\"x\"}".into()).await;
        assert!(response.starts_with("HTTP/1.1 403") && response.contains("untrusted_host"), "{response}");
    }
    let body = sign_in(&gateway).to_string();
    let response = as_host(evil, page, "/v2/sign-in/link", Method::POST, body.clone()).await;
    assert!(response.contains("untrusted_host"), "{response}");
    assert!(!response.to_lowercase().contains("set-cookie"), "{response}");
    // The configured names work, and the public one restricts its cookie to https.
    let local = format!("localhost:{port}");
    let page = format!("http://{local}");
    let response = as_host(local, page, "/v2/me", Method::GET, String::new()).await;
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    let public = "https://gate.example".to_owned();
    let fine = as_host("gate.example".into(), public, "/v2/sign-in/link", Method::POST, body).await;
    assert!(fine.starts_with("HTTP/1.1 200") && fine.contains("; Secure"), "{fine}");
    // A key never comes from a browser, so the host name does not matter; and links start with the public
    // address.
    assert!(link(&gateway).starts_with("https://gate.example/sign-in#token="));
}

#[tokio::test]
async fn nothing_is_framed_sniffed_or_kept() {
    let gateway = Gateway::start().await;
    let owner = gateway.owner().await;
    for answer in [
        owner.get("/v2/me").await,
        owner.get("/v2/nothing").await,
        gateway.browser().get("/v2/me").await.unwrap(),
        owner.post("/v2/sign-out", json!({})).await,
    ] {
        for (name, value) in [
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
            ("x-frame-options", "DENY"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "private, no-store"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{name}: {answer:?}");
        }
    }
}
