//! Reuse, many streams, cancellation, and stale connections.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use egress::{Client, Destination, EgressErrorKind, OutBody, TargetKind};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{Barrier, mpsc};

use crate::support::{Answer, AnswerFuture, Server, get, on_a_core, post, whole};

async fn read(client: &Client, url: &str) -> Bytes {
    let answer = client.send(&get(url), TargetKind::Provider).await.unwrap();
    answer.body.read_to_end(1 << 20).await.unwrap()
}

/// An unsolicited response on a connection reaches only the workspace that named the server.
#[test]
fn workspaces_share_no_connection_to_an_address_of_their_own() {
    on_a_core(async {
        let server = Server::plain(|_| Box::pin(async move { whole("all of it") })).await;
        let client = server.client();
        let destination = |owner: Option<u8>| Destination {
            kind: TargetKind::Provider,
            owner: owner.map(|owner| domain::WorkspaceId::new(1, [owner; 10])),
        };
        for (owner, connections) in [(Some(1), 1), (Some(2), 2), (None, 3), (Some(1), 3), (Some(2), 3)] {
            let answer = client.send(&get(&server.url("/whole")), destination(owner)).await.unwrap();
            assert_eq!(answer.body.read_to_end(100).await.unwrap(), "all of it");
            assert_eq!(server.connections(), connections, "{owner:?}");
        }
        let answer = client.send(&get(&server.url("/whole")), TargetKind::Provider).await.unwrap();
        assert_eq!(answer.body.read_to_end(100).await.unwrap(), "all of it");
        assert_eq!(server.connections(), 3);
    });
}

fn streamed(chunks: mpsc::Receiver<Bytes>) -> Answer {
    let frames = futures_util::stream::unfold(chunks, |mut chunks| async {
        chunks.recv().await.map(|chunk| (Ok::<_, io::Error>(Frame::data(chunk)), chunks))
    });
    Response::new(StreamBody::new(frames).boxed_unsync())
}

#[test]
fn sequential_requests_share_one_connection() {
    on_a_core(async {
        let server = Server::plain(|request| {
            Box::pin(async move {
                match request.uri().path() {
                    "/whole" => whole("all of it"),
                    "/empty" => whole(""),
                    _ => {
                        let (sender, receiver) = mpsc::channel(4);
                        for part in ["one ", "two ", "three"] {
                            sender.send(Bytes::from(part)).await.unwrap();
                        }
                        streamed(receiver)
                    }
                }
            })
        })
        .await;
        let client = server.client();
        for _ in 0..20 {
            assert_eq!(read(&client, &server.url("/whole")).await, "all of it");
            assert_eq!(read(&client, &server.url("/stream")).await, "one two three");
            assert_eq!(read(&client, &server.url("/empty")).await, "");
        }
        assert_eq!((server.connections(), client.connections()), (1, 1));
    });
}

#[test]
fn the_request_arrives_as_it_was_sent() {
    on_a_core(async {
        let server = Server::plain(|request| {
            Box::pin(async move {
                let (parts, body) = request.into_parts();
                let host = parts.headers["host"].to_str().unwrap().to_owned();
                let length = parts.headers["content-length"].to_str().unwrap().to_owned();
                let body = body.collect().await.unwrap().to_bytes();
                whole(&format!("{} {} {host} {length} {body:?}", parts.method, parts.uri))
            })
        })
        .await;
        let client = server.client();
        let segments = vec![Bytes::from("ab"), Bytes::new(), Bytes::from("cde")];
        let request = post(&server.url("/v1/x?y=1"), OutBody::from(segments));
        let answer = client.send(&request, TargetKind::Provider).await.unwrap();
        let expected = format!("POST /v1/x?y=1 {} 5 b\"abcde\"", server.address);
        assert_eq!(answer.body.read_to_end(999).await.unwrap(), expected);
    });
}

#[test]
fn more_than_a_hundred_streams_do_not_queue_behind_one_connection() {
    const REQUESTS: usize = 250;
    on_a_core(async {
        // No response comes before all requests have arrived: with a queue this would hang for ever.
        let all = Arc::new(Barrier::new(REQUESTS));
        let server = Server::tls(move |request| {
            let all = Arc::clone(&all);
            Box::pin(async move {
                assert_eq!(request.version(), http::Version::HTTP_2);
                all.wait().await;
                whole("together")
            })
        })
        .await;
        let client = server.client();
        let url = server.url("/");
        let mut running: FuturesUnordered<_> = (0..REQUESTS).map(|_| read(&client, &url)).collect();
        while let Some(body) = running.next().await {
            assert_eq!(body, "together");
        }
        drop(running);
        assert_eq!(server.connections(), 3, "90 streams each");
    });
}

#[test]
fn sequential_http2_requests_share_one_connection() {
    on_a_core(async {
        let server = Server::tls(|_| Box::pin(async { whole("x") })).await;
        let client = server.client();
        for _ in 0..200 {
            assert_eq!(read(&client, &server.url("/")).await, "x");
        }
        assert_eq!(server.connections(), 1);
    });
}

#[test]
fn an_unknown_root_is_refused_before_any_byte_of_the_request() {
    on_a_core(async {
        let server = Server::tls(|_| Box::pin(async { whole("x") })).await;
        let settings = egress::EgressSettings {
            allow_private: true,
            resolver: Arc::clone(&server.client().settings().resolver),
            ..egress::EgressSettings::default()
        };
        let client = Client::new(Arc::new(settings)).unwrap();
        let error = client.send(&get(&server.url("/")), TargetKind::Provider).await.unwrap_err();
        assert_eq!((error.kind, error.request_sent), (EgressErrorKind::Tls, false));
    });
}

#[test]
fn https_to_a_server_of_http_says_so() {
    on_a_core(async {
        let server = Server::plain(|_| Box::pin(async { whole("x") })).await;
        let url = server.url("/").replace("http://", "https://");
        let error = server.client().send(&get(&url), TargetKind::Provider).await.unwrap_err();
        assert_eq!(error.kind, EgressErrorKind::Tls);
        assert!(error.message.contains("write http:// in place of https://"), "{error}");
    });
}

async fn cancelled_by(server: &Server, streams: &mut mpsc::Receiver<mpsc::Sender<Bytes>>) {
    let client = server.client();
    let answer = client.send(&get(&server.url("/")), TargetKind::Provider).await.unwrap();
    let stream = streams.recv().await.unwrap();
    stream.send(Bytes::from("first")).await.unwrap();
    let mut body = answer.body;
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "first");
    drop(body);
    stream.closed().await;
}

async fn endless(tls: bool) -> (Server, mpsc::Receiver<mpsc::Sender<Bytes>>) {
    let (stream_sender, streams) = mpsc::channel(8);
    let handler = move |_| -> AnswerFuture {
        let stream_sender = stream_sender.clone();
        Box::pin(async move {
            let (sender, receiver) = mpsc::channel(1);
            stream_sender.send(sender).await.unwrap();
            streamed(receiver)
        })
    };
    let server = if tls { Server::tls(handler).await } else { Server::plain(handler).await };
    (server, streams)
}

#[test]
fn a_dropped_answer_cancels_the_upstream() {
    on_a_core(async {
        for tls in [false, true] {
            let (server, mut streams) = endless(tls).await;
            cancelled_by(&server, &mut streams).await;
        }
    });
}

#[test]
fn a_request_dropped_before_its_head_cancels_too() {
    on_a_core(async {
        for tls in [false, true] {
            let (arrived, mut arrivals) = mpsc::channel::<mpsc::Sender<()>>(1);
            let handler = move |_| -> AnswerFuture {
                let arrived = arrived.clone();
                Box::pin(async move {
                    let (alive, mut watch) = mpsc::channel(1);
                    arrived.send(alive).await.unwrap();
                    watch.recv().await;
                    whole("never")
                })
            };
            let server = if tls { Server::tls(handler).await } else { Server::plain(handler).await };
            let client = server.client();
            let url = server.url("/");
            let sending = tokio::task::spawn_local(async move {
                let _ = client.send(&get(&url), TargetKind::Provider).await;
            });
            let alive = arrivals.recv().await.unwrap();
            sending.abort();
            alive.closed().await;
        }
    });
}

#[test]
fn a_connection_that_its_server_closed_is_replaced_without_an_error() {
    on_a_core(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let (closed, mut closings) = mpsc::channel(1);
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut seen = [0; 4096];
                let _ = socket.read(&mut seen).await;
                socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
                drop(socket);
                let _ = closed.send(()).await;
            }
        });
        let server = Server::plain(|_| Box::pin(async { whole("") })).await;
        let client = server.client();
        for _ in 0..5 {
            assert_eq!(read(&client, &url).await, "ok");
            closings.recv().await.unwrap();
            // The close has to be noticed by this core's loop, as it is between any two real requests.
            let closed = async {
                while client.connections() > 0 {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(30), closed).await.expect("the close is noticed");
        }
    });
}

#[test]
fn a_cut_after_the_request_says_that_it_was_sent() {
    on_a_core(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut seen = [0; 4096];
            let _ = socket.read(&mut seen).await;
        });
        let server = Server::plain(|_| Box::pin(async { whole("") })).await;
        let error = server.client().send(&get(&url), TargetKind::Provider).await.unwrap_err();
        assert_eq!((error.kind, error.request_sent), (EgressErrorKind::Closed, true), "{error}");
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let nobody = format!("http://{free}/");
        let error = server.client().send(&get(&nobody), TargetKind::Provider).await.unwrap_err();
        assert_eq!((error.kind, error.request_sent), (EgressErrorKind::Connect, false), "{error}");
    });
}

#[test]
fn an_answer_over_the_bound_is_not_read_on() {
    on_a_core(async {
        let server = Server::plain(|_| Box::pin(async { whole(&"x".repeat(100_000)) })).await;
        let client = server.client();
        let answer = client.send(&get(&server.url("/")), TargetKind::Provider).await.unwrap();
        assert_eq!(answer.body.read_to_end(50_000).await.unwrap_err().kind, EgressErrorKind::Protocol);
    });
}
