//! Normal operation: routes, keys, answers buffered and streamed, health,
//! metrics, the control plane, a panic.

use std::sync::Arc;

use gateway::{Origins, Proxies, Readiness};

use crate::fixture::{Fixture, Plan};

const CHAT: &str = r#"{"model":"echo","messages":[{"role":"user","content":"hello tide"}]}"#;
const STREAM: &str = r#"{"model":"echo","stream":true,"messages":[{"role":"user","content":"hello tide"}]}"#;

#[test]
fn a_chat_is_answered_whole_and_streamed_over_one_connection() {
    let fixture = Fixture::start(Plan::default());
    let mut wire = fixture.connect();
    for _ in 0..20 {
        wire.send(&fixture.chat(CHAT));
        let answer = wire.answer();
        assert_eq!(answer.status, 200, "{answer:?}");
        let text = answer.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
        assert!(text.contains("isn't a model") && text.ends_with("hello tide"), "{text}");
        assert_eq!(answer.header("agent-execution-profile"), Some("byoc"));
        assert_eq!(answer.header("agent-trace-id"), answer.header("x-request-id"));
        wire.send(&fixture.chat(STREAM));
        let answer = wire.answer();
        let text = answer.text();
        assert_eq!(answer.status, 200);
        assert!(answer.header("content-type").unwrap().starts_with("text/event-stream"));
        assert!(text.contains("\"tide\"") && text.ends_with("data: [DONE]\n\n"), "{text}");
    }
    assert_eq!(fixture.gauge("tidegate_upstream_connections"), 1, "one connection, used again and again");
}

#[test]
fn every_path_has_its_answer() {
    let fixture = Fixture::start(Plan::default());
    let cases: &[(&str, &str, u16, &str)] = &[
        ("GET", "/v1/models", 200, ""),
        ("HEAD", "/v1/models", 200, ""),
        ("GET", "/v1/models/echo", 200, ""),
        ("GET", "/v1/models/no/such", 404, "model_not_found"),
        ("GET", "/v1/models/", 200, ""),
        ("GET", "/models", 200, ""),
        ("GET", "/models/echo", 200, ""),
        ("GET", "/api/v1/models", 200, ""),
        ("GET", "/openai/v1/models", 200, ""),
        ("GET", "/v1beta/openai/models/echo", 200, ""),
        ("GET", "/v1beta1/publishers/google/models/echo", 200, ""),
        ("GET", "/chat/completions", 405, "method_not_allowed"),
        ("GET", "/openai/v1/nonsense", 404, "unknown_path"),
        ("GET", "/health", 200, ""),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("GET", "/v1/run", 405, ""),
        ("POST", "/v1/uploads", 404, "not_served_yet"),
        ("PUT", "/v1/videos", 405, "method_not_allowed"),
        ("POST", "/v1/videos", 400, "empty_body"),
        ("GET", "/v1/images/edits", 405, "method_not_allowed"),
        ("POST", "/v1/images/edits", 415, "unsupported_media_type"),
        ("POST", "/v1/nonsense", 404, "unknown_path"),
        ("GET", "/v1", 404, "unknown_path"),
        ("GET", "/favicon.ico", 404, ""),
        ("PUT", "/agents", 405, ""),
        ("POST", "/chats/none/none", 404, ""),
        ("POST", "/health/live", 405, ""),
        ("GET", "/health/live", 200, ""),
        ("GET", "/health/ready", 200, ""),
        ("GET", "/", 200, ""),
        ("HEAD", "/", 200, ""),
        ("OPTIONS", "/v1/models", 405, "method_not_allowed"),
    ];
    for (method, path, status, code) in cases {
        let mut wire = fixture.connect();
        // A response without a body is read to the connection's end, which the server is asked to make: a
        // client that ended it first would count as gone.
        let headers = if *method == "HEAD" { "Connection: close\r\n" } else { "" };
        wire.send(&fixture.request(method, path, headers, b""));
        if *method == "HEAD" {
            let bytes = wire.rest();
            assert!(bytes.starts_with(b"HTTP/1.1 200") && bytes.ends_with(b"\r\n\r\n"), "{path}");
            continue;
        }
        let answer = wire.answer();
        assert_eq!(answer.status, *status, "{method} {path}: {answer:?}");
        if !code.is_empty() {
            assert_eq!(answer.code(), *code, "{method} {path}");
        }
        if *status == 405 {
            assert!(answer.header("allow").is_some(), "{method} {path}");
        }
        if *status >= 400 {
            assert!(answer.header("x-request-id").is_some(), "{method} {path}");
        }
    }
    // A path of the API asks for a key first.
    for path in ["/v1/models", "/v1/videos", "/v1/nonsense", "/agents", "/models", "/openai/v1/nonsense"] {
        assert_eq!(fixture.look(path).status, 401, "{path}");
    }
    let answer = fixture.look("/favicon.ico");
    assert_eq!((answer.status, answer.header("content-type")), (404, Some("application/problem+json")));
}

#[test]
fn other_vendors_addresses_serve_the_same_chat() {
    let fixture = Fixture::start(Plan::default());
    let mut wire = fixture.connect();
    let json = "Content-Type: application/json\r\n";
    for path in [
        "/chat/completions",
        "/api/v1/chat/completions",
        "/openai/v1/chat/completions",
        "/openai/deployments/echo/chat/completions?api-version=2024-10-21",
        "/v1beta/openai/chat/completions",
        "/v1/v1/chat/completions",
    ] {
        for body in [CHAT, STREAM] {
            wire.send(&fixture.request("POST", path, json, body.as_bytes()));
            let answer = wire.answer();
            assert!(answer.status == 200 && answer.text().contains("tide"), "{path}: {answer:?}");
        }
    }
    // A deployment is the model, whatever the body says; it need not say any.
    for model in [r#""model":"another","#, ""] {
        let body = format!(r#"{{{model}"messages":[{{"role":"user","content":"hello tide"}}]}}"#);
        let path = "/openai/deployments/echo/chat/completions";
        wire.send(&fixture.request("POST", path, json, body.as_bytes()));
        let answer = wire.answer();
        assert_eq!((answer.status, answer.json()["model"].as_str()), (200, Some("echo")), "{answer:?}");
    }
    let contents = r#"{"contents":[{"role":"user","parts":[{"text":"hello tide"}]}]}"#;
    for root in ["/v1beta1/projects/p/locations/global", "/v1/projects/p/locations/l"] {
        for verb in ["generateContent", "streamGenerateContent?alt=sse"] {
            let path = format!("{root}/publishers/google/models/echo:{verb}");
            wire.send(&fixture.request("POST", &path, json, contents.as_bytes()));
            let answer = wire.answer();
            assert!(answer.status == 200 && answer.text().contains("tide"), "{path}: {answer:?}");
        }
    }
    // The paths of Stimulir's client go on to the control plane.
    assert_eq!(fixture.get("/api/v1/users/me").status, 202);
}

#[test]
fn pages_of_allowed_origins_read_answers_and_others_do_not() {
    const ALLOW: &str = "access-control-allow-origin";
    let origins = Origins::parse("https://app.example").unwrap();
    let fixture = Fixture::start(Plan { origins, ..Plan::default() });
    let preflight = |fixture: &Fixture, path: &str, origin: &str| {
        let head = format!(
            "OPTIONS {path} HTTP/1.1\r\nHost: a\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: POST\r\n\
             Access-Control-Request-Headers: authorization,x-stainless-lang\r\n\r\n"
        );
        fixture.ask(head.as_bytes())
    };
    let app = "Origin: https://app.example\r\nContent-Type: application/json\r\n";
    for path in ["/v1/chat/completions", "/v1/messages", "/openai/deployments/echo/chat/completions"] {
        let answer = preflight(&fixture, path, "https://app.example");
        assert_eq!((answer.status, answer.header(ALLOW)), (204, Some("https://app.example")), "{path}");
        assert_eq!(answer.header("access-control-allow-headers"), Some("authorization,x-stainless-lang"));
        let methods = answer.header("access-control-allow-methods");
        assert!(methods.is_some_and(|methods| methods.contains("POST")));
        assert_eq!(answer.header("access-control-allow-credentials"), None);
        assert_eq!(preflight(&fixture, path, "https://evil.example").header(ALLOW), None, "{path}");
    }
    for (body, status) in [(CHAT, 200), (STREAM, 200), ("{", 400)] {
        let post = |headers: &str| fixture.ask(&fixture.chat_with(headers, body.as_bytes()));
        let answer = post(app);
        assert_eq!((answer.status, answer.header(ALLOW)), (status, Some("https://app.example")), "{body}");
        assert_eq!(answer.header("vary"), Some("Origin"));
        let with_session = format!("{app}Cookie: tidegate_session=a\r\n");
        for headers in ["", "Origin: https://evil.example\r\n", &with_session] {
            let answer = post(headers);
            assert_eq!((answer.status, answer.header(ALLOW)), (status, None), "{headers}");
        }
    }
    // Without a key a page learns that it needs one; what manages the gateway, and its counters, are not for pages.
    let answer = fixture.ask(format!("GET /v1/models HTTP/1.1\r\nHost: a\r\n{app}\r\n").as_bytes());
    assert_eq!((answer.status, answer.header(ALLOW)), (401, Some("https://app.example")));
    for path in ["/v2/usage", "/metrics", "/health/ready"] {
        let answer = fixture.ask(&fixture.request("GET", path, app, b""));
        assert_eq!(answer.header(ALLOW), None, "{path}");
        assert_eq!(preflight(&fixture, path, "https://app.example").header(ALLOW), None, "{path}");
    }
    let fixture = Fixture::start(Plan::default());
    let answer = preflight(&fixture, "/v1/chat/completions", "https://app.example");
    assert_eq!((answer.status, answer.header(ALLOW)), (405, None));
}

#[test]
fn readiness_says_why_not_and_a_panic_is_a_500() {
    let reading = || Readiness::Not("the books are being read".to_owned());
    let fixture = Fixture::start(Plan { ready: Arc::new(reading), ..Plan::default() });
    let answer = fixture.look("/health/ready");
    assert_eq!((answer.status, answer.text().as_str()), (503, "not ready: the books are being read\n"));
    // A gateway that still serves stays in its load balancer, and says what is wrong.
    let degraded = || Readiness::Degraded("the database takes no record".to_owned());
    let fixture = Fixture::start(Plan { ready: Arc::new(degraded), ..Plan::default() });
    let answer = fixture.look("/health/ready");
    assert_eq!((answer.status, answer.text().as_str()), (200, "degraded: the database takes no record\n"));
    assert_eq!(fixture.look("/health/live").status, 200);
    let fixture = Fixture::start(Plan { ready: Arc::new(|| panic!("asked for")), ..Plan::default() });
    let mut wire = fixture.connect();
    for _ in 0..3 {
        wire.send(b"GET /health/ready HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = wire.answer();
        assert_eq!((answer.status, answer.json()["code"].as_str()), (500, Some("internal_error")));
    }
    wire.send(&fixture.chat(CHAT));
    assert_eq!(wire.answer().status, 200, "the core goes on");
}

/// Case 35: a panic ends one request. Its neighbours are half-way through on every core meanwhile.
#[test]
fn a_request_that_panics_ends_itself_alone() {
    let fixture = Fixture::start(Plan { ready: Arc::new(|| panic!("asked for")), ..Plan::default() });
    let whole = fixture.chat(CHAT);
    let (started, rest) = whole.split_at(whole.len() - 10);
    let mut neighbours: Vec<_> = (0..8).map(|_| fixture.connect()).collect();
    for wire in &mut neighbours {
        wire.send(started);
    }
    for _ in 0..20 {
        assert_eq!(fixture.look("/health/ready").status, 500);
    }
    for wire in &mut neighbours {
        wire.send(rest);
        assert_eq!(wire.answer().status, 200);
    }
    assert_eq!(fixture.gauge("tidegate_cores_silent"), 0);

    // A call that goes on panicking is quarantined on all cores, also without what made it panic, and no other call is.
    let ask = |headers: &str, body: &str| {
        let headers = format!("Content-Type: application/json\r\n{headers}");
        fixture.ask(&fixture.chat_with(&headers, body.as_bytes()))
    };
    for _ in 0..3 {
        ask("Idempotency-Key: panic\r\n", CHAT).must_be(500, "internal_error", "a panic");
    }
    for headers in ["Idempotency-Key: panic\r\n", "", "", ""] {
        let answer = ask(headers, CHAT);
        answer.must_be(500, "request_quarantined", headers);
        assert_eq!(answer.header("x-should-retry"), Some("false"));
        let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
        let words = ["The gateway panicked 3 times over this request", " until ", " GMT."];
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    }
    assert_eq!(ask("", STREAM).status, 200);
    assert_eq!(fixture.gauge("tidegate_refusals_total{code=\"request_quarantined\"}"), 4);
    // Calls with the same body differ by their addresses, too.
    let generate = |verb: &str, key: &str| {
        let path = format!("/v1beta/models/echo:{verb}");
        let headers = format!("Content-Type: application/json\r\n{key}");
        let body = br#"{"contents":[{"role":"user","parts":[{"text":"hello tide"}]}]}"#;
        fixture.ask(&fixture.request("POST", &path, &headers, body)).status
    };
    for _ in 0..3 {
        assert_eq!(generate("generateContent", "Idempotency-Key: panic\r\n"), 500);
    }
    assert_eq!((generate("generateContent", ""), generate("streamGenerateContent?alt=sse", "")), (500, 200));
}

#[test]
fn v2_is_answered_by_the_control_plane() {
    let fixture = Fixture::start(Plan::default());
    let answer = fixture.ask(&fixture.request("POST", "/v2/routes?x=1", "", b"{}"));
    assert_eq!(answer.status, 202);
    assert!(answer.text().starts_with("POST /v2/routes?x=1 from 127.0.0.1: Ok(b\"{}\") trc_"), "{answer:?}");
    let answer = fixture.get("/v2/panic");
    assert_eq!((answer.status, answer.json()["code"].as_str()), (500, Some("internal_error")));
    assert_eq!(fixture.ask(&fixture.request("TRACE", "/v2/routes", "", b"")).status, 405);
}

/// Nor a probe of its health, nor a call.
#[test]
fn a_control_plane_that_is_held_up_delays_no_revocation() {
    let fixture = Fixture::start(Plan::default());
    let held = fixture.hold_control();
    let (mut listing, mut deleting) = (fixture.connect(), fixture.connect());
    listing.send(&fixture.request("GET", "/v2/api-keys/key_1", "", b""));
    deleting.send(&fixture.request("DELETE", "/v2/webhooks/whk_1", "", b""));
    for path in ["/v2/api-keys/key_1", "/v2/members/mbr_1", "/v2/provider-credentials/cred_1"] {
        assert_eq!(fixture.ask(&fixture.request("DELETE", path, "", b"")).status, 202, "{path}");
    }
    assert_eq!(fixture.look("/health/ready").status, 200);
    assert_eq!(fixture.ask(&fixture.chat(CHAT)).status, 200);
    let metrics = fixture.look("/metrics").text();
    assert!(metrics.contains("\ntidegate_runtime_delay_microseconds{runtime=\"serve\"} "), "{metrics}");
    assert!(listing.is_silent() && deleting.is_silent());
    drop(held);
    assert_eq!((listing.answer().status, deleting.answer().status), (202, 202));
}

/// Bodies of the control plane count, too, and the buffered parts of forms.
#[test]
fn the_bytes_of_all_bodies_are_bounded() {
    const MIB: usize = 1024 * 1024;
    let fixture = Fixture::start(Plan { body_bytes_max: MIB, ..Plan::default() });
    let sent = |bytes: usize| fixture.ask(&fixture.request("POST", "/v2/routes", "", &vec![b' '; bytes]));
    assert!(sent(900 * 1024).text().contains(": Ok("));
    let refused = sent(1_100 * 1024).text();
    assert!(refused.contains("gateway_overloaded") && refused.contains(": Err("), "{refused}");
    let is_refused = |fixture: &Fixture, bytes: usize, is_file_first: bool, key: &str| {
        let part = |name: &str, value: &str| {
            format!("--b\r\nContent-Disposition: form-data; {name}\r\n\r\n{value}\r\n")
        };
        let file = part("name=\"file\"; filename=\"a.wav\"", &"x".repeat(bytes));
        let mut parts = [part("name=\"model\"", "whisper-1"), file];
        if is_file_first {
            parts.reverse();
        }
        let body = [parts.concat(), "--b--\r\n".to_owned()].concat();
        let headers = format!("Content-Type: multipart/form-data; boundary=b\r\n{key}");
        let answer =
            fixture.ask(&fixture.request("POST", "/v1/audio/transcriptions", &headers, body.as_bytes()));
        answer.json()["error"]["code"] == "rate_limit_exceeded"
    };
    assert!(is_refused(&fixture, 600 * 1024, false, "Idempotency-Key: one\r\n"));
    assert!(!is_refused(&fixture, 100 * 1024, false, "Idempotency-Key: two\r\n"));
    // A form without a key is held whole where its file comes first; of another, its first MiB for a retry.
    assert!(is_refused(&fixture, 600 * 1024, true, "") && is_refused(&fixture, 600 * 1024, false, ""));
    let fixture = Fixture::start(Plan { body_bytes_max: 8 * MIB, ..Plan::default() });
    assert!(is_refused(&fixture, 5 * MIB, true, "") && !is_refused(&fixture, 5 * MIB, false, ""));
}

#[test]
fn metrics_are_the_sum_of_all_cores() {
    let fixture = Fixture::start(Plan::default());
    for _ in 0..8 {
        assert_eq!(fixture.ask(&fixture.chat(CHAT)).status, 200);
        assert_eq!(fixture.get("/v1/nonsense").status, 404);
    }
    assert_eq!(fixture.gauge("tidegate_answers_total{class=\"2xx\"}"), 8);
    assert_eq!(fixture.gauge("tidegate_refusals_total{code=\"unknown_path\"}"), 8);
    assert_eq!(fixture.gauge("tidegate_cores_silent"), 0);
}

#[test]
fn behind_a_trusted_proxy_the_client_is_who_asks() {
    let any = |address: &str, prefix_bits| snapshot::IpNet { address: address.parse().unwrap(), prefix_bits };
    for (trusted, forwarded, from) in [
        (vec![], "X-Forwarded-For: 203.0.113.9\r\n", "127.0.0.1"),
        (vec![any("127.0.0.0", 8)], "X-Forwarded-For: 10.1.1.1, 203.0.113.9\r\n", "203.0.113.9"),
        (vec![any("127.0.0.0", 8)], "", "127.0.0.1"),
        (vec![any("192.0.2.0", 24)], "X-Forwarded-For: 203.0.113.9\r\n", "127.0.0.1"),
    ] {
        let proxies = Proxies { trusted, is_fronted: false };
        let fixture = Fixture::start(Plan { proxies, ..Plan::default() });
        let answer = fixture.ask(&fixture.request("POST", "/v2/routes", forwarded, b"{}"));
        assert!(answer.text().contains(&format!(" from {from}: ")), "{forwarded}: {answer:?}");
    }
}

#[test]
fn counters_are_shown_without_a_key_to_this_machine_alone() {
    let metrics = |fixture: &Fixture, headers: &str| {
        fixture.ask(format!("GET /metrics HTTP/1.1\r\n{headers}\r\n").as_bytes()).status
    };
    let fixture = Fixture::start(Plan::default());
    assert_eq!(metrics(&fixture, "Host: 127.0.0.1\r\n"), 200);
    for headers in [
        "Host: evil.example\r\n",
        "Host: localhost\r\nX-Forwarded-For: 127.0.0.1\r\n",
        "Host: localhost\r\nForwarded: for=127.0.0.1\r\n",
        "Host: localhost\r\nVia: 1.1 proxy\r\n",
    ] {
        assert_eq!(metrics(&fixture, headers), 401, "{headers}");
    }
    let fronted = Proxies { is_fronted: true, ..Proxies::default() };
    let fixture = Fixture::start(Plan { proxies: fronted, ..Plan::default() });
    assert_eq!(metrics(&fixture, "Host: 127.0.0.1\r\n"), 401);
}
