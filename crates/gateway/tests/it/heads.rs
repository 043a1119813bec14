//! Request smuggling and host confusion: one reading, or a 400 that closes the connection.

use crate::fixture::{Fixture, Plan};

const BOTH: &str = "length_and_transfer_encoding";
const CODING: &str = "invalid_transfer_encoding";

/// `KEY` and `HOST` are filled in. Behind each follows a second request that must never be answered.
const VECTORS: &[(&str, &str)] = &[
    (BOTH, "Host: HOST\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (BOTH, "Host: HOST\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
    (BOTH, "Host: HOST\r\ncontent-length: 0\r\ntransfer-encoding: CHUNKED\r\n\r\n0\r\n\r\n"),
    ("duplicate_content_length", "Host: HOST\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n"),
    ("duplicate_content_length", "Host: HOST\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef"),
    ("invalid_content_length", "Host: HOST\r\nContent-Length: 5, 5\r\n\r\nabcde"),
    ("invalid_content_length", "Host: HOST\r\nContent-Length: +5\r\n\r\nabcde"),
    ("invalid_content_length", "Host: HOST\r\nContent-Length: -5\r\n\r\nabcde"),
    ("invalid_content_length", "Host: HOST\r\nContent-Length: 5 5\r\n\r\nabcde"),
    ("invalid_content_length", "Host: HOST\r\nContent-Length: 0x5\r\n\r\nabcde"),
    ("invalid_content_length", "Host: HOST\r\nContent-Length: 99999999999999999999\r\n\r\nabcde"),
    ("invalid_content_length", "Host: HOST\r\nContent-Length: \r\n\r\n"),
    (CODING, "Host: HOST\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    (CODING, "Host: HOST\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    (CODING, "Host: HOST\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    (CODING, "Host: HOST\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"),
    (CODING, "Host: HOST\r\nTransfer-Encoding: identity\r\n\r\n"),
    (CODING, "Host: HOST\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
    ("invalid_header", "Host: HOST\r\nTransfer-Encoding: chunked\x0b\r\n\r\n0\r\n\r\n"),
    ("invalid_header", "Host: HOST\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    ("invalid_header", "Host: HOST\r\nTransfer\tEncoding: chunked\r\n\r\n"),
    ("invalid_header", "Host: HOST\r\nX: a\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("invalid_header", "Host: HOST\r\nX: a\0b\r\n\r\n"),
    ("invalid_header", "Host: HOST\r\n\x7fX: a\r\n\r\n"),
    ("invalid_header", "Host: HOST\r\nno colon\r\n\r\n"),
    (CODING, "Host: HOST\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    ("folded_header", "Host: HOST\r\n X: a\r\n\r\n"),
    ("bare_line_feed", "Host: HOST\nContent-Length: 0\r\n\r\n"),
    ("bare_line_feed", "Host: HOST\r\nContent-Length: 0\n\n"),
    ("bare_line_feed", "Host: HOST\r\nX: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("invalid_host", "Host: HOST\r\nHost: HOST\r\n\r\n"),
    ("invalid_host", "X: a\r\n\r\n"),
    ("invalid_host", "Host: a#@b\r\n\r\n"),
    ("invalid_host", "Host: user@HOST\r\n\r\n"),
    ("invalid_host", "Host: a/b\r\n\r\n"),
    ("invalid_host", "Host: a b\r\n\r\n"),
];

const LINES: &[(&str, &str)] = &[
    ("authority_form", "POST ftp://HOST/v1/chat/completions HTTP/1.1"),
    ("authority_form", "POST HOST/v1/chat/completions HTTP/1.1"),
    ("authority_form", "CONNECT HOST:443 HTTP/1.1"),
    ("invalid_host", "POST http://user@HOST/v1/chat/completions HTTP/1.1"),
    ("invalid_request_line", "POST  /v1/chat/completions HTTP/1.1"),
    ("invalid_request_line", "POST /v1/chat completions HTTP/1.1"),
    ("invalid_request_line", "POST /v1/chat#@x HTTP/1.1"),
    ("invalid_request_line", "POST\t/v1/chat/completions HTTP/1.1"),
    ("invalid_request_line", " POST /v1/chat/completions HTTP/1.1"),
    ("invalid_request_line", "P{OST /v1/chat/completions HTTP/1.1"),
    ("unknown_http_version", "POST /v1/chat/completions HTTP/1.9"),
    ("unknown_http_version", "POST /v1/chat/completions HTTP/2.0"),
    ("unknown_http_version", "POST /v1/chat/completions http/1.1"),
    ("invalid_request_line", "POST /v1/chat/completions"),
];

fn refused(fixture: &Fixture, bytes: &str, code: &str) {
    let mut wire = fixture.connect();
    let behind = format!("GET /health/live HTTP/1.1\r\nHost: a\r\nX-Behind: {}\r\n\r\n", fixture.key);
    wire.send(format!("{bytes}{behind}").as_bytes());
    let answer = wire.answer();
    answer.must_be(400, code, bytes);
    assert_eq!(answer.header("connection"), Some("close"), "{bytes:?}");
    let id = answer.header("x-request-id").unwrap();
    assert!(answer.json()["error"]["message"].as_str().unwrap().contains(id), "{bytes:?}");
    wire.socket.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(wire.rest(), b"", "nothing behind it is answered: {bytes:?}");
}

#[test]
fn ambiguous_framing_is_refused_and_what_is_behind_it_is_not_answered() {
    let fixture = Fixture::start(Plan::default());
    let host = fixture.address.to_string();
    for (code, rest) in VECTORS {
        let head = format!("POST /v1/chat/completions HTTP/1.1\r\nAuthorization: Bearer {}\r\n", fixture.key);
        refused(&fixture, &(head + &rest.replace("HOST", &host)), code);
    }
    for (code, line) in LINES {
        refused(&fixture, &format!("{}\r\nHost: a\r\n\r\n", line.replace("HOST", &host)), code);
    }
    assert_eq!(fixture.gauge("tidegate_upstream_connections"), 0);
}

/// RFC 9112, 3.2.2: a server accepts an absolute URL as the target, and takes the host from it.
#[test]
fn a_whole_url_is_a_target_and_a_star_is_the_server() {
    let fixture = Fixture::start(Plan::default());
    let url = format!("http://{}/v1/models", fixture.address);
    assert_eq!(fixture.get(&url).status, 200);
    let metrics = |target: &str, host: &str| {
        fixture.ask(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).status
    };
    // The target's host counts, whatever the header says.
    assert_eq!(metrics("http://localhost/metrics", "evil.example"), 200);
    assert_eq!(metrics("http://evil.example/metrics", "localhost"), 401);
    let answer = fixture.ask(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((answer.status, answer.body.as_slice()), (204, &b""[..]));
    assert!(answer.header("allow").is_some_and(|allow| allow.contains("POST")), "{answer:?}");
}

#[test]
fn headers_are_bounded() {
    let fixture = Fixture::start(Plan::default());
    for headers in [format!("X: {}\r\n", "x".repeat(70_000)), "X: y\r\n".repeat(200)] {
        let answer = fixture.ask(format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n").as_bytes());
        answer.must_be(431, "headers_too_large", "many or large");
    }
    let large = format!("X: {}\r\n", "x".repeat(60_000));
    assert_eq!(fixture.ask(&fixture.request("GET", "/v1/models", &large, b"")).status, 200);
}

#[test]
fn a_refusal_keeps_its_place_behind_the_answers_before_it() {
    let fixture = Fixture::start(Plan::default());
    let mut wire = fixture.connect();
    let good = fixture.request("GET", "/v1/models", "", b"");
    let bad = b"GET / HTTP/1.1\nHost: a\n\n";
    wire.send(&[good.as_slice(), &good, bad].concat());
    assert_eq!(wire.answer().status, 200);
    assert_eq!(wire.answer().status, 200);
    assert_eq!(wire.answer().code(), "bare_line_feed");
}

#[test]
fn other_spellings_of_a_path_are_other_paths() {
    let fixture = Fixture::start(Plan::default());
    for path in [
        "/v1/models/../chat/completions%00",
        "//v1/chat/completions",
        "/v1/chat/completions/",
        "/v1/chat/./completions",
        "/v1%2fchat%2fcompletions",
        "/V1/CHAT/COMPLETIONS",
        "/health/live/../../v1/chat/completions",
        "/v1/chat/completions;x=1",
    ] {
        let answer = fixture.ask(&fixture.request("POST", path, "Content-Type: application/json\r\n", b"{}"));
        assert!(matches!(answer.status, 404 | 405), "{path}: {answer:?}");
        let bare = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        assert!(matches!(fixture.ask(bare.as_bytes()).status, 401 | 404 | 405), "{path}");
    }
}
