//! HTTP/2, TLS, connections and connection reuse.

use harness::client::Client;
use harness::raw::{RawConnection, exchange, status_of};
use harness::{Behaviour, Emulator};

use crate::{CHAT, KEY, WITHIN, client, config, question, start, streaming, text_of};

#[tokio::test]
async fn http2_with_prior_knowledge() {
    let emulator = start().await;
    let client = client(&emulator).http2();
    assert_eq!(client.post(CHAT, &question()).await.unwrap().status, 200);
    let (events, end) = client.stream(CHAT, &streaming()).await.unwrap().events().await;
    assert!(end.is_ok());
    assert_eq!(text_of(&events), "You said: hello there");
    assert!(emulator.journal().iter().all(|entry| entry.version == "HTTP/2.0"));
    for behaviour in [Behaviour::ok().cut(3), Behaviour::ok().close(3)] {
        emulator.script(KEY, [behaviour]);
        match client.stream(CHAT, &streaming()).await {
            Ok(mut started) => {
                let (events, end) = started.events().await;
                assert!(end.is_err() && events.len() <= 3, "{} events", events.len());
            }
            // A reset discards unsent data: on a busy machine the response head, too.
            Err(reset) => assert!(format!("{reset:?}").contains("INTERNAL_ERROR"), "{reset:?}"),
        }
    }
}

#[tokio::test]
async fn tls_with_both_versions() {
    let directory = tempfile::tempdir().unwrap();
    let emulator = Emulator::start(config().tls_dir(directory.path())).await.unwrap();
    assert!(emulator.base_url().starts_with("https://127.0.0.1:"));
    let pem = std::fs::read_to_string(emulator.ca_file().unwrap()).unwrap();
    assert_eq!(Some(pem.as_str()), emulator.ca_pem());
    let client = client(&emulator).trust(&pem).unwrap();
    assert_eq!(client.post(CHAT, &question()).await.unwrap().status, 200);
    assert_eq!(client.clone().http2().post(CHAT, &question()).await.unwrap().status, 200);
    let versions: Vec<String> = emulator.journal().into_iter().map(|entry| entry.version).collect();
    assert_eq!(versions, ["HTTP/1.1", "HTTP/2.0"]);
    assert!(emulator.journal().iter().all(|entry| entry.tls));
    emulator.script(KEY, [Behaviour::ok().cut(2)]);
    let (_, end) = client.stream(CHAT, &streaming()).await.unwrap().events().await;
    assert!(end.is_err());
    let other = Emulator::start(config().tls()).await.unwrap();
    let distrustful = Client::new(emulator.origin()).bearer(KEY).trust(other.ca_pem().unwrap()).unwrap();
    assert!(distrustful.post(CHAT, &question()).await.is_err());
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let emulator = start().await;
    let request = format!("GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n\r\n");
    let mut raw = RawConnection::open(emulator.addr(), WITHIN).await.unwrap();
    for _ in 0..3 {
        raw.write(&request).await.unwrap();
        let answer = raw.read_until(|bytes| bytes.ends_with(b"}")).await.unwrap();
        assert_eq!(status_of(&answer), Some(200));
    }
    let connections = emulator.connections();
    assert_eq!((connections.len(), connections[0].requests, connections[0].open), (1, 3, true));
    raw.reset().unwrap();
    let bad = exchange(emulator.addr(), "GET / HTTP/1.1\r\nbad header\r\n\r\n", WITHIN).await.unwrap();
    assert_eq!(status_of(&bad), Some(400));
}

#[tokio::test]
async fn a_dropped_emulator_is_gone() {
    let emulator = start().await;
    let client = client(&emulator);
    emulator.script(KEY, [Behaviour::ok().stall(2)]);
    let mut stream = client.stream(CHAT, &streaming()).await.unwrap();
    drop(emulator);
    assert!(stream.events().await.1.is_err());
    assert!(client.get("/v1/models").await.is_err());
}

#[tokio::test]
async fn an_address_that_cannot_be_served_is_an_error() {
    assert!(Emulator::start(config().listen("0.0.0.0:0")).await.is_err(), "only loopback is served");
    let first = start().await;
    let taken = first.addr().to_string();
    assert!(Emulator::start(config().listen(taken)).await.is_err());
}
