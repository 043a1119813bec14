//! Bounds of a realtime session, at an upstream that accepts every session and never says anything.

use std::time::Duration;

use bytes::Bytes;
use conversation::request::Addressed;
use decode::Inbound;
use domain::limits::{REALTIME_IDLE_MAX, REALTIME_RESPONSES_MAX};
use domain::{Dialect, Operation, Outcome};
use framing::websocket::{GOING_AWAY, Scanner, Seen, Sender, accept, close_frame, text_frame};
use line::Session;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::bench::{Bench, LOOPBACK, OWN_KEYS, Setup, on_core};

const MASK: Option<[u8; 4]> = Some([1, 2, 3, 4]);

/// The address of an upstream that opens sessions, and sends nothing in them.
async fn silent_upstream() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::task::spawn_local(open(stream));
        }
    });
    base_url
}

/// Answers the handshake, and reads until the session ends.
async fn open(stream: TcpStream) {
    let mut stream = BufReader::new(stream);
    let (mut key, mut line) = (String::new(), String::new());
    while stream.read_line(&mut line).await.unwrap() > 2 {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("sec-websocket-key")
        {
            value.trim().clone_into(&mut key);
        }
        line.clear();
    }
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: {}\r\n\r\n",
        accept(&key)
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

async fn bench() -> Bench {
    let setup = Setup { base_url: Some(silent_upstream().await), ..Setup::own(&OWN_KEYS[..1]) };
    Bench::start(setup).await
}

async fn opened(bench: &Bench) -> Session {
    let (headers, caller) = bench.caller();
    let clock = &bench.core.deps.world.clock;
    let addressed = Addressed { model: "openai/gpt-realtime-1.5".to_owned(), ..Addressed::default() };
    let inbound = Inbound {
        trace: bench.trace(),
        dialect: Dialect::Chat,
        operation: Operation::Realtime,
        headers,
        addressed: Some(Box::new(addressed)),
        body: Bytes::new(),
        form: None,
        received_us: clock.monotonic_us(),
        received_unix_ms: clock.unix_ms(),
    };
    match line::open_session(&bench.core, inbound, caller, LOOPBACK).await {
        Ok((_, session)) => session,
        Err(answer) => panic!("no session: {}", answer.status()),
    }
}

/// The next text message from the gateway.
async fn heard(client: &mut DuplexStream) -> Value {
    let (mut scanner, mut input) = (Scanner::new(Sender::Server, 1 << 20, 1 << 20), Vec::new());
    loop {
        assert!(client.read_buf(&mut input).await.unwrap() > 0, "the session ended");
        let read = scanner.read(&input).unwrap();
        input.drain(..read.used);
        if let Some(Seen::Message(_)) = read.seen {
            return serde_json::from_slice(scanner.text()).unwrap();
        }
    }
}

#[test]
fn a_session_in_which_nothing_is_sent_ends() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let bench = bench().await;
        let session = opened(&bench).await;
        let (mut client, far) = duplex(1 << 16);
        // From here on, time passes whenever everything waits.
        tokio::time::pause();
        let started = Instant::now();
        drop(session.run(far, &[], || false).await.unwrap());
        let passed = started.elapsed();
        assert!(passed >= REALTIME_IDLE_MAX, "{passed:?}");
        assert!(passed < REALTIME_IDLE_MAX + Duration::from_secs(30), "{passed:?}");
        tokio::time::resume();
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, close_frame(GOING_AWAY, "realtime_idle", None));
        assert_eq!(bench.record().await.outcome, Outcome::Completed, "nothing was asked for");
    });
}

#[test]
fn a_session_has_only_so_many_responses_at_once() {
    on_core(async {
        let bench = bench().await;
        let session = opened(&bench).await;
        let (mut client, far) = duplex(1 << 16);
        let session = tokio::task::spawn_local(session.run(far, &[], || false));
        for _ in 0..REALTIME_RESPONSES_MAX {
            client.write_all(&text_frame(br#"{"type":"response.create"}"#, MASK)).await.unwrap();
        }
        let one_more = br#"{"type":"response.create","event_id":"one more"}"#;
        client.write_all(&text_frame(one_more, MASK)).await.unwrap();
        let event = heard(&mut client).await;
        let error = &event["error"];
        assert_eq!((&event["type"], &error["event_id"]), (&"error".into(), &"one more".into()), "{event}");
        assert_eq!(error["code"], "realtime_responses", "{event}");
        drop(client);
        session.await.unwrap();
        let records = bench.settled(REALTIME_RESPONSES_MAX).await;
        assert!(records.iter().all(|record| record.outcome == Outcome::ClientCancelled), "{records:#?}");
    });
}
