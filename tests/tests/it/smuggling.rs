//! Requests that two servers could parse differently, and clients that send too slowly: refused, or never
//! answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use harness::raw::{RawConnection, exchange, status_of};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::ask::{CHAT, MINI, question};
use crate::gateway::Gateway;

const WITHIN: Duration = Duration::from_secs(15);

struct Shape {
    name: &'static str,
    /// The header lines, without the key.
    lines: String,
    body: String,
    first: String,
    status: u16,
}

/// A request with these header lines after its host.
fn shape(name: &'static str, lines: &str, body: impl Into<String>) -> Shape {
    let lines = format!("host: x\r\n{lines}");
    Shape { name, lines, body: body.into(), first: format!("POST {CHAT} HTTP/1.1"), status: 400 }
}

fn first(name: &'static str, first: impl Into<String>, status: u16) -> Shape {
    Shape { first: first.into(), status, ..shape(name, "content-length: 2\r\n", "{}") }
}

fn hosted(name: &'static str, hosts: &str) -> Shape {
    Shape { lines: format!("{hosts}content-length: 2\r\n"), ..shape(name, "", "{}") }
}

fn shapes() -> Vec<Shape> {
    let body = question(MINI).to_string();
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let smuggled = format!("0\r\n\r\nPOST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
    vec![
        shape("a length and chunks", "content-length: 5\r\ntransfer-encoding: chunked\r\n", smuggled),
        shape("chunks and a length", "transfer-encoding: chunked\r\ncontent-length: 5\r\n", chunked.clone()),
        shape("two lengths that differ", "content-length: 2\r\ncontent-length: 40\r\n", "{}"),
        shape("two lengths that agree", "content-length: 2\r\ncontent-length: 2\r\n", "{}"),
        shape("a list of lengths", "content-length: 2, 2\r\n", "{}"),
        shape("a signed length", "content-length: +2\r\n", "{}"),
        shape("a length in hex", "content-length: 0x2\r\n", "{}"),
        shape("a negative length", "content-length: -1\r\n", "{}"),
        shape("chunked twice", "transfer-encoding: chunked, chunked\r\n", chunked.clone()),
        shape(
            "chunked, then identity",
            "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
            chunked.clone(),
        ),
        shape("an odd coding", "transfer-encoding: xchunked\r\n", chunked.clone()),
        shape("a space before the colon", "transfer-encoding : chunked\r\n", chunked),
        shape("a folded header", "x-a: b\r\n c\r\ncontent-length: 2\r\n", "{}"),
        hosted("a bare line feed", "host: x\n"),
        shape("a NUL in a header", "x-a: b\0c\r\ncontent-length: 2\r\n", "{}"),
        hosted("no host", ""),
        hosted("two hosts", "host: x\r\nhost: y\r\n"),
        hosted("a host with a path", "host: x/#@y\r\n"),
        first("a URL with a user", format!("POST http://user@elsewhere{CHAT} HTTP/1.1"), 400),
        first("two spaces", format!("POST  {CHAT} HTTP/1.1"), 400),
        first("an escaped slash", "POST /v1/chat%2fcompletions HTTP/1.1", 404),
        first("a path with dots", "POST /v1/models/../chat/completions HTTP/1.1", 404),
    ]
}

#[tokio::test]
async fn ambiguous_requests_are_refused_and_the_connection_ends() {
    let mut gateway = Gateway::with_own().await;
    for shape in shapes() {
        let head = format!(
            "{}\r\n{}authorization: Bearer {}\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n",
            shape.first, shape.lines, gateway.founded.api_key
        );
        let answer = exchange(gateway.address(), format!("{head}{}", shape.body), WITHIN).await;
        let answer = answer.unwrap_or_else(|error| panic!("{}: {error}", shape.name));
        let text = String::from_utf8_lossy(&answer).into_owned();
        assert_eq!(status_of(&answer), Some(shape.status), "{}: {text}", shape.name);
        assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{}: a second request was read: {text}", shape.name);
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let body: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{}: {body}", shape.name));
        let message = body["error"]["message"].as_str().unwrap_or_else(|| panic!("{}: {body}", shape.name));
        let id = head.lines().find_map(|line| line.strip_prefix("x-request-id: ")).unwrap();
        assert!(message.contains(id), "{}: {message}", shape.name);
    }
    assert_eq!(gateway.emulator.journal().len(), 0, "something reached upstream");
    assert!(gateway.process().exited().unwrap().is_none());
    gateway.chat_ok(&question(MINI)).await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_it_is_read() {
    let gateway = Gateway::with_own().await;
    let common = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n",
        gateway.founded.api_key
    );
    // With a declared length: no byte of the body is sent.
    let head = format!("{common}content-length: {}\r\n\r\n", 1_u64 << 30);
    let answer = exchange(gateway.address(), head, WITHIN).await.unwrap();
    assert_eq!(status_of(&answer), Some(413), "{}", String::from_utf8_lossy(&answer));
    let text = String::from_utf8_lossy(&answer).to_lowercase();
    assert!(text.contains("connection: close") && text.contains("request_too_large"), "{text}");
    // In endless chunks: the answer arrives while they are still being sent.
    let socket = tokio::net::TcpStream::connect(gateway.address()).await.unwrap();
    let (mut reader, mut writer) = socket.into_split();
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let sending = tokio::spawn(async move {
        let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x1_0000));
        writer.write_all(format!("{common}transfer-encoding: chunked\r\n\r\n").as_bytes()).await.unwrap();
        while writer.write_all(chunk.as_bytes()).await.is_ok() {
            counted.fetch_add(chunk.len(), Ordering::Relaxed);
        }
    });
    let mut answer = vec![0; 4096];
    let read = tokio::time::timeout(WITHIN, reader.read(&mut answer)).await.unwrap().unwrap();
    let sent_bytes = sent.load(Ordering::Relaxed);
    let text = String::from_utf8_lossy(&answer[..read]).into_owned();
    assert_eq!(status_of(&answer[..read]), Some(413), "{text}");
    assert!(text.contains("request_too_large"), "{text}");
    assert!(sent_bytes < 2 * domain::limits::BODY_BYTES_MAX, "{sent_bytes} bytes before the answer");
    sending.await.unwrap();
    assert_eq!(gateway.emulator.journal().len(), 0);
    gateway.chat_ok(&question(MINI)).await;
}

/// Sends an incomplete request; returns the answer and how long it took.
async fn dribble(gateway: &Gateway, head: String) -> (Vec<u8>, Duration) {
    let mut connection = RawConnection::open(gateway.address(), Duration::from_secs(30)).await.unwrap();
    let started = Instant::now();
    connection.write(head).await.unwrap();
    let answer = connection.read_to_end().await.unwrap();
    (answer, started.elapsed())
}

#[tokio::test]
async fn slow_clients_are_given_up() {
    let gateway = Gateway::with_own().await;
    let key = &gateway.founded.api_key;
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n");
    let body = format!("{head}content-type: application/json\r\ncontent-length: 1000\r\n\r\n{{");
    let silent = dribble(&gateway, String::new());
    let ((no_head, waited), (no_body, lingered), (nothing, _)) =
        tokio::join!(dribble(&gateway, head), dribble(&gateway, body), silent);
    for (answer, took) in [(no_head, waited), (no_body, lingered)] {
        let text = String::from_utf8_lossy(&answer).into_owned();
        assert_eq!(status_of(&answer), Some(408), "{text}");
        assert!(text.contains("trc_"), "{text}");
        assert!((Duration::from_secs(8)..Duration::from_secs(16)).contains(&took), "after {took:?}");
    }
    assert!(nothing.is_empty(), "a connection that never spoke is just closed");
    let page = gateway.client().get("/metrics").await.unwrap().text();
    assert!(page.contains("request_too_slow"), "{page}");
    assert_eq!(gateway.emulator.journal().len(), 0);
}
