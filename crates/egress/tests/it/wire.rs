//! HTTP/1.1 against servers that send exact bytes: where a response ends, and when a connection is reused.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use egress::{Client, EgressError, EgressErrorKind, OutBody, TargetKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::{Server, get, on_a_core, post, whole};

/// Sends `answer` to each request, split into pieces of `size`, and closes only if `closes` says so.
async fn scripted(answer: &'static str, size: usize, closes: bool) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                socket.set_nodelay(true).unwrap();
                let mut seen = [0; 4096];
                while socket.read(&mut seen).await.is_ok_and(|count| count > 0) {
                    for piece in answer.as_bytes().chunks(size) {
                        if socket.write_all(piece).await.is_err() {
                            return;
                        }
                        tokio::task::yield_now().await;
                    }
                    if closes {
                        return;
                    }
                }
            });
        }
    });
    (url, connections)
}

async fn client() -> Client {
    Server::plain(|_| Box::pin(async { whole("") })).await.client()
}

async fn ask(client: &Client, url: &str) -> Result<(u16, Bytes), EgressError> {
    let answer = client.send(&get(url), TargetKind::Provider).await?;
    let status = answer.status.as_u16();
    Ok((status, answer.body.read_to_end(1 << 20).await?))
}

/// Sends three requests, with the response split at several sizes, and checks how many connections that took.
fn check(answer: &'static str, closes: bool, expected: (u16, &str), connections: usize) {
    on_a_core(async {
        for size in [1, 7, 4096] {
            let (url, count) = scripted(answer, size, closes).await;
            let client = client().await;
            for _ in 0..3 {
                let (status, body) = ask(&client, &url).await.unwrap();
                assert_eq!((status, &*body), (expected.0, expected.1.as_bytes()), "{answer:?} {size}");
            }
            assert_eq!(count.load(Ordering::SeqCst), connections, "{answer:?} {size}");
        }
    });
}

#[test]
fn a_connection_is_used_again_only_after_a_certain_end() {
    check("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", false, (200, "ok"), 1);
    let chunked =
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\no\r\n1;x=y\r\nk\r\n0\r\nt: v\r\n\r\n";
    check(chunked, false, (200, "ok"), 1);
    check("HTTP/1.1 204 No Content\r\n\r\n", false, (204, ""), 1);
    let after_another = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    check(after_another, false, (200, "ok"), 1);
    check("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok", false, (200, "ok"), 3);
    check("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", false, (200, "ok"), 3);
    check("HTTP/1.1 200 OK\r\n\r\nok", true, (200, "ok"), 3);
    let two_lengths =
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 9\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    check(two_lengths, false, (200, "ok"), 3);
}

#[test]
fn what_comes_behind_an_answer_is_never_the_next_one() {
    on_a_core(async {
        let smuggled =
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nbad";
        let (url, _) = scripted(smuggled, 4096, false).await;
        let client = client().await;
        for _ in 0..5 {
            assert_eq!(ask(&client, &url).await.unwrap().1, "ok");
        }
    });
}

#[test]
fn half_an_answer_and_no_answer_are_errors_after_the_request() {
    on_a_core(async {
        for (answer, kind) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nok", EgressErrorKind::Closed),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nok", EgressErrorKind::Closed),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n", EgressErrorKind::Closed),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nno\r\n", EgressErrorKind::Protocol),
            ("HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok", EgressErrorKind::Protocol),
            ("HTTP/1.1 200 OK\r\ncont", EgressErrorKind::Closed),
            ("220 smtp.example ESMTP\r\n", EgressErrorKind::Protocol),
        ] {
            let (url, _) = scripted(answer, 4096, true).await;
            let error = ask(&client().await, &url).await.unwrap_err();
            assert_eq!((error.kind, error.request_sent), (kind, true), "{answer:?}: {error}");
        }
    });
}

#[test]
fn an_answer_that_comes_before_the_request_is_written_is_read() {
    on_a_core(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut seen = [0; 100];
                let _ = socket.read(&mut seen).await;
                socket.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno").await.unwrap();
                // The rest of the request is never read.
                held.push(socket);
            }
        });
        let client = client().await;
        for _ in 0..2 {
            let request = post(&url, OutBody::from(Bytes::from(vec![b'x'; 32 << 20])));
            let answer = client.send(&request, TargetKind::Provider).await.unwrap();
            assert_eq!(answer.status, 413);
            assert_eq!(answer.body.read_to_end(99).await.unwrap(), "no");
        }
    });
}
