//! What goes wrong inside a tunnel on purpose: floods and garbage from either end, and nodes that are revoked while they answer.
//! Others go on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use harness::client::{Client, Streaming};
use harness::process::resources;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::WITHIN;
use crate::ask::{CHAT, fails, trace_of, with};
use crate::gateway::Gateway;
use crate::isolation::second_workspace;
use crate::tunnels::{
    Dialled, Machine, ask, endless, ends_whole, gateway, hello, joined, take_every_field, until_answered,
    until_cut, until_ready,
};
use crate::wait::{found, until};

const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// `GET` of `/` over `http`, and the status 204, in the static table of HPACK.
const GET: &[u8] = &[0x82, 0x84, 0x86];
const NO_CONTENT: &[u8] = &[0x89];
/// How much a flood may add to what the gateway holds; connections and requests of others are a part of it.
const HELD_MAX: u64 = 64 << 20;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The stream of the next request that comes through a tunnel.
async fn next_request(wire: &mut (impl AsyncRead + Unpin)) -> u32 {
    loop {
        let mut head = [0; 9];
        wire.read_exact(&mut head).await.unwrap();
        let [high, middle, low, kind, _, stream @ ..] = head;
        let mut payload = vec![0; usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low)];
        wire.read_exact(&mut payload).await.unwrap();
        if kind == HEADERS {
            return u32::from_be_bytes(stream);
        }
    }
}

/// Opens a tunnel as a node does, and answers the first ping.
async fn open_raw(gateway: &Gateway, (machine, id): (&Machine, &str)) -> TcpStream {
    let (mut dialled, nonce) = Dialled::challenge(gateway, &machine.credential()).await;
    let verdict = dialled.say(&hello(&machine.certificate(), &machine.key(), &nonce, id)).await;
    assert_eq!(verdict["object"], "tunnel_open", "{verdict}");
    let (early, wire) = dialled.into_parts();
    let (reading, mut writing) = wire.into_split();
    let mut reading = std::io::Cursor::new(early).chain(reading);
    let settings = [frame(SETTINGS, 0, 0, &[]), frame(SETTINGS, 1, 0, &[])].concat();
    writing.write_all(&settings).await.unwrap();
    reading.read_exact(&mut [0; 24]).await.unwrap();
    let ping = next_request(&mut reading).await;
    writing.write_all(&frame(HEADERS, 5, ping, NO_CONTENT)).await.unwrap();
    reading.into_inner().1.reunite(writing).unwrap()
}

/// Writes the same until the other end takes no more, and reads what it says.
async fn flood(wire: TcpStream, bytes: &[u8]) {
    let (mut reading, mut writing) = wire.into_split();
    let reading = tokio::spawn(async move {
        let mut scratch = vec![0; 64 * 1024];
        while matches!(reading.read(&mut scratch).await, Ok(count) if count > 0) {}
    });
    let many = bytes.repeat(1 + 16_000 / bytes.len());
    let writing = async { while writing.write_all(&many).await.is_ok() {} };
    assert!(tokio::time::timeout(WITHIN, writing).await.is_ok(), "what is sent is read on");
    reading.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_floods_loses_its_tunnel_and_others_are_served() {
    let mut gateway = gateway(&[]).await;
    let (machine, id) = joined(&gateway, &gateway.origin, "attic");
    let (honest, honest_id) = joined(&gateway, &gateway.origin, "cellar");
    let _honest = honest.start(&[]).await;
    until_ready(&gateway, &honest_id).await;
    let mut node = machine.start(&[]).await;
    until_ready(&gateway, &id).await;
    node.kill9().unwrap();
    until_cut(&gateway, &id).await;
    until_answered(&gateway).await;

    let (before, _) = resources(gateway.pid()).unwrap();
    let floods = [
        ("without content", frame(PING, 0, 0, &[7; 8])),
        ("without content", frame(SETTINGS, 0, 0, &[0, 1, 0xff, 0xff, 0xff, 0xff])),
        ("without content", frame(8, 0, 0, &1_u32.to_be_bytes())),
        ("the connection broke", vec![0xff; 64]),
        ("the connection broke", frame(HEADERS, 5, 99, NO_CONTENT)),
    ];
    for (why, bytes) in floods {
        let wire = open_raw(&gateway, (&machine, &id)).await;
        gateway.until_node(&id, "with a tunnel", |node| node["tunnel"].is_object()).await;
        let flooding = tokio::spawn(async move { flood(wire, &bytes).await });
        while !flooding.is_finished() {
            let answer = gateway.client().post(CHAT, &ask()).await.unwrap().must_be(200);
            assert_eq!(answer.header("agent-node-id"), Some(honest_id.as_str()));
        }
        flooding.await.unwrap();
        until_cut(&gateway, &id).await;
        gateway.process().wait_text(why, WITHIN).await.unwrap();
    }
    let held = resources(gateway.pid()).unwrap().0.saturating_sub(before);
    assert!(held < HELD_MAX, "{held} bytes more");
    assert!(!gateway.process().stderr().contains("panic"));
    // The machine itself comes back.
    let _node = machine.start(&[]).await;
    until_ready(&gateway, &id).await;
}

/// Leads to a gateway, and says this through the next tunnels in its place, each to its end.
struct Forger {
    address: SocketAddr,
    used: Arc<AtomicUsize>,
}

impl Forger {
    async fn before(gateway: &Gateway, forgeries: Vec<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let forger = Self { address: listener.local_addr().unwrap(), used: Arc::default() };
        let (used, there, forgeries) = (Arc::clone(&forger.used), gateway.address(), Arc::new(forgeries));
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (used, forgeries) = (Arc::clone(&used), Arc::clone(&forgeries));
                tokio::spawn(async move {
                    let far = TcpStream::connect(there).await.unwrap();
                    forge(near, far, &used, &forgeries).await;
                });
            }
        });
        forger
    }
}

async fn forge(mut near: TcpStream, mut far: TcpStream, used: &AtomicUsize, forgeries: &[Vec<u8>]) {
    let (mut from_node, mut from_gateway) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    let mut is_tunnel = false;
    loop {
        tokio::select! {
            read = near.read(&mut from_node) => {
                let Ok(count @ 1..) = read else { return };
                is_tunnel |= from_node[..count].windows(11).any(|part| part == b"tunnel HTTP");
                if far.write_all(&from_node[..count]).await.is_err() {
                    return;
                }
            }
            read = far.read(&mut from_gateway) => {
                let Ok(count @ 1..) = read else { return };
                let said = &from_gateway[..count];
                let Some(opened) = said.windows(13).position(|part| part == b"\"tunnel_open\"") else {
                    if near.write_all(said).await.is_err() {
                        return;
                    }
                    continue;
                };
                let forgery = forgeries.get(used.fetch_add(1, Ordering::SeqCst));
                let (Some(forgery), true) = (forgery, is_tunnel) else {
                    let _ = near.write_all(said).await;
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    return;
                };
                let line = opened + said[opened..].iter().position(|byte| *byte == b'\n').unwrap() + 1;
                near.write_all(&said[..line]).await.unwrap();
                drop(far);
                return flood(near, forgery).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_survives_what_is_no_gateway() {
    let gateway = gateway(&[]).await;
    let begun = [PREFACE.to_vec(), frame(SETTINGS, 0, 0, &[])].concat();
    let after = |frames: Vec<u8>| [begun.clone(), frames].concat();
    let rapid: Vec<u8> = (0..20_000_u32)
        .flat_map(|at| {
            let stream = at * 2 + 1;
            [frame(HEADERS, 5, stream, GET), frame(RESET, 0, stream, &8_u32.to_be_bytes())].concat()
        })
        .collect();
    let forgeries = vec![
        vec![0xff; 64],
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec(),
        after(frame(PING, 0, 0, &[7; 8]).repeat(20_000)),
        after(frame(SETTINGS, 0, 0, &[]).repeat(20_000)),
        after(rapid),
        after([frame(HEADERS, 1, 1, GET), frame(CONTINUATION, 0, 1, GET).repeat(20_000)].concat()),
        after(frame(HEADERS, 5, 2, GET)),
        after(frame(HEADERS, 5, 1, &[0xff; 40])),
        after(frame(8, 0, 0, &0x7fff_ffff_u32.to_be_bytes()).repeat(2)),
    ];
    let number = forgeries.len();
    let forger = Forger::before(&gateway, forgeries).await;
    let (machine, id) = joined(&gateway, &format!("http://{}", forger.address), "attic");
    let node = machine.start(&[]).await;
    // Its own clients are served all the while.
    until("all was said", async || {
        assert_eq!(machine.client().post(CHAT, &ask()).await.unwrap().status, 200);
        forger.used.load(Ordering::SeqCst) > number
    })
    .await;
    until_ready(&gateway, &id).await;
    until_answered(&gateway).await;
    assert!(!node.stderr().contains("panic"), "{}", node.stderr());
}

/// A stream whose first event was read.
async fn begin(client: &Client, request: &Value) -> Streaming {
    found("a stream", async || {
        let mut stream = client.stream(CHAT, request).await.unwrap();
        (stream.status == 200 && stream.event().await.unwrap().is_some()).then_some(stream)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revoking_a_node_cuts_its_streams_and_those_of_no_other() {
    let gateway = gateway(&[]).await;
    let (machine, id) = joined(&gateway, &gateway.origin, "attic");
    let (beside, beside_id) = joined(&gateway, &gateway.origin, "cellar");
    let (_node, _beside) = (machine.start(&[]).await, beside.start(&[]).await);
    for node in [&id, &beside_id] {
        until_ready(&gateway, node).await;
        take_every_field(&gateway, node).await;
    }
    let others = second_workspace(&gateway).await;
    let (stranger, theirs) = (gateway.with_key(&others.admin_key), gateway.with_key(&others.api_key));
    let token = stranger.post("/v2/byoc/nodes/join-tokens", &json!({"name": "attic"})).await.unwrap().json();
    let far = Machine::new();
    far.join(&gateway.origin, token["token"].as_str().unwrap(), &["--tunnel"]).ok();
    let _far = far.start(&[]).await;
    until("the other workspace is served", async || theirs.post(CHAT, &ask()).await.unwrap().status == 200)
        .await;
    // Each of the workspace's nodes gets one of the streams, since the other is cordoned meanwhile.
    gateway.turn(&beside_id, "cordon").await;
    let mut cut = begin(&gateway.client(), &endless()).await;
    gateway.turn(&beside_id, "uncordon").await;
    gateway.turn(&id, "cordon").await;
    let mut kept = begin(&gateway.client(), &endless()).await;
    let mut elsewhere = begin(&theirs, &with(ask(), json!({"stream": true, "max_tokens": 400}))).await;

    gateway.turn(&id, "revoke").await;
    let (events, _) = cut.events().await;
    assert_ne!(events.last().map(String::as_str), Some("[DONE]"), "the answer is cut");
    for _ in 0..3 {
        assert!(kept.event().await.unwrap().is_some(), "the workspace's other node goes on");
    }
    assert!(ends_whole(&mut elsewhere).await, "so does the other workspace's");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_declared_binds_the_workspace_and_not_the_machine() {
    let gateway = gateway(&[("TIDEGATE_NODE_CERTIFICATE_MS", "1000")]).await;
    let (machine, id) = joined(&gateway, &gateway.origin, "attic");
    let _node = machine.start(&[]).await;
    until_ready(&gateway, &id).await;
    let trace = trace_of(&until_answered(&gateway).await);
    gateway.patch(&format!("/v2/byoc/nodes/{id}"), json!({"models": ["acme/other"]})).await;
    until("the certificate says so", async || machine.certificate()["models"] == json!(["acme/other"])).await;
    machine.client().post(CHAT, &ask()).await.unwrap().must_be(200);
    // A gateway names its requests, and gets what is declared.
    let named = [("content-type", "application/json"), ("x-request-id", &*trace)];
    let refused = machine.client().call(http::Method::POST, CHAT, &named, ask().to_string()).await.unwrap();
    fails(&refused, 403, "model_not_declared");
}
