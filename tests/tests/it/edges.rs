//! The gateway under hostile clients and upstreams: decompression bombs, floods of slow and of large
//! requests, clients that disconnect, proxies in front, pages of other origins, and a second process on the same address.

use std::time::Duration;

use harness::client::{Answer, Client};
use harness::pace::{Pace, Threads, Work, cpu_time};
use harness::process::resources;
use harness::raw::{RawConnection, status_of};
use harness::setting::number;
use harness::{Behaviour, Entry};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::WITHIN;
use crate::ask::{CHAT, MINI, problem, question, streaming};
use crate::command::Cli;
use crate::forms::{listening, own_upstream, peak};
use crate::gateway::{Gateway, OWN, config, id_of};
use crate::neighbours::gauge;
use crate::person::Person;
use crate::wait::{a_moment, until};

const MIB: usize = 1024 * 1024;
const PASSWORD: &str = "the tide comes in at six";
/// How long a serving thread of a debug build may compute while a neighbouring request waits. The target is 50 ms, which a release
/// build meets.
const NEIGHBOUR_WAITS_MAX: Duration = Duration::from_secs(2);

/// A gzip body of empty blocks of ten bits, each of which costs a decoder as much as a full one.
fn empty_blocks(bytes: usize) -> Vec<u8> {
    let four = (0..4).fold(0_u64, |bits, at| bits | 2 << (10 * at)).to_le_bytes();
    let head = b"\x1f\x8b\x08\0\0\0\0\0\0\xff".as_slice();
    [head, &four[..5].repeat(bytes / 5), b"\x03\0\0\0\0\0\0\0\0\0"].concat()
}

/// Polls the gateway's health until `done`; returns the longest wait for an answer, as the time that a thread computed meanwhile.
async fn longest_wait(gateway: &Gateway, done: impl Future<Output = ()>) -> Duration {
    let client = Client::new(&gateway.origin).within(WITHIN);
    let mut worst = Duration::ZERO;
    let mut done = std::pin::pin!(done);
    loop {
        let work = Work::start(gateway.serving());
        let answer = client.get("/health/live");
        tokio::select! {
            () = &mut done => return worst,
            answer = answer => assert_eq!(answer.unwrap().status, 200),
        }
        worst = worst.max(work.done());
        a_moment().await;
    }
}

/// An upstream whose every answer is these gzip bytes.
async fn packed_upstream(body: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let body = body.clone();
            tokio::spawn(async move {
                let mut request = vec![0; 64 * 1024];
                while socket.read(&mut request).await.is_ok_and(|count| count > 0) {
                    let head = format!(
                        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\n\
                         content-length: {}\r\n\r\n",
                        body.len()
                    );
                    if socket.write_all(&[head.as_bytes(), &body].concat()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    origin
}

#[tokio::test]
async fn an_answer_that_unpacks_to_nothing_holds_up_nobody() {
    let gateway = Gateway::start().await;
    let upstream = packed_upstream(empty_blocks(MIB)).await;
    let body = json!({"provider": "openai", "secret": OWN, "base_url": format!("{upstream}/v1")});
    gateway.make("/v2/provider-credentials", body).await;
    // Each answer costs its share of computing before it is refused, and all eight and their retries take turns on a core.
    let client = gateway.client().within(WITHIN * 3);
    let asking = async {
        let requests = (0..8).map(|_| async { client.post(CHAT, &question(MINI)).await.unwrap().status });
        let statuses = futures_util::future::join_all(requests).await;
        // After a few failures the provider's circuit breaker is open.
        assert!(statuses.iter().all(|status| matches!(status, 502 | 503)), "{statuses:?}");
    };
    let worst = longest_wait(&gateway, asking).await;
    println!("a neighbour waited while a thread computed for {} ms at worst", worst.as_millis());
    assert!(worst < NEIGHBOUR_WAITS_MAX, "{worst:?}");
}

/// Case 28, small: five bombs in each direction, each refused for the right reason, with at most 64 MiB more memory at the peak, and little more
/// CPU time of a serving thread than the bound of unpacking and an honest body take.
#[tokio::test]
async fn bombs_are_refused_both_ways_and_cost_no_memory() {
    let mut gateway = Gateway::with_own().await;
    gateway.chat_ok(&question(MINI)).await;
    let spaces = gzip(&vec![b' '; 64 * MIB]);
    let twice = gzip(&spaces);
    let members = b"\x1f\x8b\x08\0\0\0\0\0\0\xff\x03\0\0\0\0\0\0\0\0\0".repeat(MIB / 20);
    let blocks = empty_blocks(MIB);
    let bare = blocks[10..].to_vec();
    let packed = async |client: &Client, encoding: &str, body: Vec<u8>| {
        let headers = [("content-type", "application/json"), ("content-encoding", encoding)];
        client.call(http::Method::POST, CHAT, &headers, body).await.unwrap()
    };
    // The honest one is unpacked and read; its workspace has no provider to send it to.
    let theirs = gateway.make("/v2/workspaces", json!({"name": "theirs"})).await;
    let text: String = (0..131_072_u32).map(|at| format!("{:08x}", at.wrapping_mul(2_654_435_761))).collect();
    let body =
        gzip(json!({"model": MINI, "messages": [{"role": "user", "content": text}]}).to_string().as_bytes());
    let work = Work::start(gateway.serving());
    packed(&gateway.with_key(theirs["api_key"].as_str().unwrap()), "gzip", body).await.must_be(404);
    let honest = work.done();
    let work_max = domain::limits::UNPACK_WORK_FREE + 10 * honest;
    let pid = gateway.process().pid();
    peak(pid);
    let (before, mut worst) = (peak(pid), Duration::ZERO);
    // The answer may be read before the core that wrote it has gone on: on a busy machine two bombs would count as one.
    let given_back = async || {
        let is_free = async || resources(pid).unwrap().0 <= (before + 16 * MIB) as u64;
        until("the memory that a bomb took is given back", is_free).await;
    };
    let bombs = [("gzip", spaces, 413), ("gzip", members, 413), ("gzip", blocks, 413)];
    for (encoding, body, status) in bombs.into_iter().chain([("deflate", bare, 413), ("gzip", twice, 400)]) {
        let work = Work::start(gateway.serving());
        let answer = packed(&gateway.client(), encoding, body).await;
        assert_eq!(answer.status, status, "{encoding}: {}", answer.text());
        worst = worst.max(work.done());
        given_back().await;
    }
    // The largest first: after a few failures the provider's circuit breaker is open, and nothing more is asked for.
    let mut reached = 0;
    for bytes in [10_240, 1_024, 128, 16, 2].map(|mib: u64| mib * 1024 * 1024) {
        gateway.emulator.script(OWN, [Behaviour::ok().bomb(bytes).always()]);
        let (work, calls) = (Work::start(gateway.serving()), gateway.calls(OWN).len());
        let answer = gateway.chat(&question(MINI)).await;
        assert!(matches!(answer.status, 502 | 503), "{bytes}: {}", answer.text());
        let attempts = u32::try_from(gateway.calls(OWN).len() - calls).unwrap();
        worst = worst.max(work.done() / attempts.max(1));
        reached += attempts;
        given_back().await;
    }
    let grown = peak(pid).saturating_sub(before) / MIB;
    println!("memory has grown by {grown} MiB; a bomb took {worst:?}, an honest body {honest:?}");
    assert!(reached > 0, "no bomb was answered with");
    assert!(grown <= 64, "{grown} MiB");
    assert!(worst <= work_max, "{worst:?} of {work_max:?}");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Case 7, small: bodies of a GiB, with a length and chunked, cost no more than the in-flight limit.
#[tokio::test]
async fn oversized_bodies_are_refused_and_cost_no_memory() {
    let mut gateway = Gateway::start().await;
    let pid = gateway.process().pid();
    let (before, _) = resources(pid).unwrap();
    let head = |framing: &str| {
        format!(
            "POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n{framing}\r\n\r\n",
            gateway.founded.api_key
        )
    };
    let (announced, chunked) =
        (head(&format!("content-length: {}", 1_u64 << 30)), head("transfer-encoding: chunked"));
    let address = gateway.address();
    let sending = (0..20).map(|number| {
        let head = if number % 2 == 0 { &announced } else { &chunked };
        async move {
            let socket = tokio::net::TcpStream::connect(address).await.unwrap();
            let (mut reader, mut writer) = socket.into_split();
            writer.write_all(head.as_bytes()).await.unwrap();
            let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x1_0000], b"\r\n"].concat();
            let pouring = async { while writer.write_all(&chunk).await.is_ok() {} };
            let mut answer = vec![0; 16 * 1024];
            let received = async { reader.read(&mut answer).await };
            let count = tokio::select! { received = received => received.unwrap_or(0), () = pouring => 0 };
            answer.truncate(count);
            answer
        }
    });
    let mut answered = 0;
    for answer in futures_util::future::join_all(sending).await {
        // A reset may overtake the answer to a client that keeps sending.
        if !answer.is_empty() {
            assert_eq!(status_of(&answer), Some(413), "{}", String::from_utf8_lossy(&answer));
            assert!(String::from_utf8_lossy(&answer).to_lowercase().contains("connection: close"));
            answered += 1;
        }
    }
    assert!(answered >= 10, "{answered} of 20 were told");
    let (after, _) = resources(pid).unwrap();
    let grown = after.saturating_sub(before) / MIB as u64;
    println!("memory has grown by {grown} MiB, {answered} of 20 were told");
    // What was received of ten bodies, and the capacity that their buffers grow into.
    assert!(grown <= 2 * 10 * 32 + 32, "{grown} MiB");
}

/// What is held of large bodies is bounded for each workspace and for all, and let go of with the call.
#[tokio::test]
async fn large_bodies_in_progress_are_bounded() {
    let gateway = Gateway::with(config(), &[("TIDEGATE_BODY_MIB_MAX", "4")]).await;
    let silent = own_upstream(&gateway).await;
    let theirs = gateway.make("/v2/workspaces", json!({"name": "theirs"})).await;
    let large = |model: &str| json!({"model": model, "messages": [{"role": "user", "content": "x".repeat(3 * MIB / 2)}]});
    let client = gateway.client().within(WITHIN);
    let holding = tokio::spawn({
        let (client, large) = (client.clone(), large("slow/a"));
        async move { client.within(WITHIN * 3).post(CHAT, &large).await }
    });
    let held = listening(&silent, CHAT).await;
    // Without a provider of this model, what isn't refused for its size is a 404.
    let second = client.post(CHAT, &large(MINI)).await.unwrap();
    assert_eq!((second.status, second.header("retry-after")), (429, Some("1")), "{}", second.text());
    assert_eq!(second.json()["error"]["code"], "rate_limit_exceeded");
    // A neighbour has its own half.
    let neighbour = gateway.with_key(theirs["api_key"].as_str().unwrap()).within(WITHIN);
    assert_eq!(neighbour.post(CHAT, &large(MINI)).await.unwrap().status, 404);
    assert_eq!(client.post(CHAT, &question(MINI)).await.unwrap().status, 404, "a small one has room");
    holding.abort();
    let is_free = async || client.post(CHAT, &large(MINI)).await.unwrap().status == 404;
    until("the body to be let go of", is_free).await;
    drop(held);
}

/// Case 6, small: slow heads and bodies next to ordinary calls, which are answered while all of them are held, and cost no more for it.
/// `TIDEGATE_SLOW_SOCKETS` sets their number.
#[tokio::test]
async fn slow_sockets_cost_little_and_slow_down_nobody() {
    let count: usize = number("TIDEGATE_SLOW_SOCKETS").unwrap_or(1_000);
    let mut gateway = Gateway::with_own().await;
    let pid = gateway.process().pid();
    // The CPU time of fifty, after a few that wait for the gateway's other work.
    let ordinary = async |gateway: &Gateway| {
        let mut before = Duration::ZERO;
        for call in 0..60 {
            if call == 10 {
                before = cpu_time(pid);
            }
            gateway.chat_ok(&question(MINI)).await;
        }
        cpu_time(pid).saturating_sub(before)
    };
    let quiet = ordinary(&gateway).await.max(ordinary(&gateway).await);
    let head =
        format!("POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n", gateway.founded.api_key);
    let body = format!("{head}content-type: application/json\r\ncontent-length: 1000000\r\n\r\n");
    let body = body + &" ".repeat(6_000);
    for (kind, start) in [("head", &head), ("body", &body)] {
        peak(pid);
        let before = peak(pid);
        let mut slow = Vec::new();
        for _ in 0..count {
            let mut connection = RawConnection::open(gateway.address(), 2 * WITHIN).await.unwrap();
            connection.write(start).await.unwrap();
            slow.push(connection);
        }
        let beside = ordinary(&gateway).await;
        let held = gauge(&gateway, "tidegate_connections").await;
        assert!(held >= count as u64, "{held} connections were open when the others had been answered");
        for connection in &mut slow {
            connection.write("x").await.unwrap();
        }
        for mut connection in slow {
            assert_eq!(status_of(&connection.read_to_end().await.unwrap()), Some(408));
        }
        // Also while they are let go of.
        let each = peak(pid).saturating_sub(before) / 1024 / count;
        println!("a slow {kind}'s socket takes {each} KiB; fifty calls {quiet:?}, {beside:?} beside {count}");
        // Ten thousand of them fit 256 MiB.
        assert!(each <= 26, "{each} KiB with a slow {kind}");
        assert!(beside <= 2 * quiet, "{quiet:?} alone, {beside:?} beside a slow {kind}");
    }
}

/// Case 10, small: clients disconnect at random points, each is noticed upstream within 100 ms, and each call is in the books once, with what
/// was sent. `TIDEGATE_LEAVING_CLIENTS` sets their number.
#[tokio::test]
async fn clients_that_leave_are_noticed_and_booked_once() {
    /// After so many the emulator's journal, which each look copies, begins again.
    const WAVE: usize = 500;
    let calls: usize = number("TIDEGATE_LEAVING_CLIENTS").unwrap_or(60);
    let gateway = Gateway::with_own().await;
    let path = [gateway.serving(), Threads::of_emulators()];
    let (mut after, mut finished) = (Vec::new(), 0);
    for call in 0..calls {
        if call % WAVE == 0 {
            gateway.emulator.reset();
            let slow = Behaviour::ok().chunks(1_000).interval(Duration::from_millis(5));
            gateway.emulator.script(OWN, [slow.always()]);
        }
        let mut stream = gateway.client().stream(CHAT, &streaming(MINI)).await.unwrap();
        for _ in 0..call % 12 {
            stream.event().await.unwrap();
        }
        let pace = Pace::start(&path);
        stream.hang_up();
        let is_noticed = |journal: &[Entry]| {
            let mut own = journal.iter().filter(|entry| !entry.is_probe());
            own.clone().count() == call % WAVE + 1
                && own.next_back().is_some_and(|last| last.cancelled.is_some())
        };
        let journal = gateway.emulator.wait_for(WITHIN, is_noticed).await;
        after.push(pace.elapsed());
        let journal = journal.unwrap_or_else(|journal| panic!("not cancelled: {:?}", journal.last()));
        finished += usize::from(journal.last().is_some_and(|last| last.finished));
    }
    after.sort_unstable();
    let p99 = after[(calls - 1) * 99 / 100];
    let (median, worst) = (after[calls / 2], after[calls - 1]);
    println!("of {calls} noticed upstream after {median:?}, p99 {p99:?}, {worst:?} at worst");
    assert_eq!(finished, 0, "a stream ran to its end");
    assert!(p99 <= Duration::from_millis(100), "{p99:?}");
    gateway.wait_for_usage(calls as u64).await;
    let rows = gateway.requests(100).await;
    assert_eq!(rows.len(), calls);
    assert!(rows.iter().all(|row| row["outcome"] == "client_cancelled"), "{rows:?}");
}

async fn sign_in(gateway: &Gateway, from: &str, email: &str, password: &str) -> Answer {
    let client = Client::new(&gateway.origin).within(WITHIN).header("origin", &gateway.origin);
    let body = json!({"email": email, "password": password});
    client.header("x-forwarded-for", from).post("/v2/sign-in", &body).await.unwrap()
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_client_is_itself() {
    let gateway = Gateway::with(config(), &[("TIDEGATE_TRUSTED_PROXIES", "127.0.0.1")]).await;
    gateway.credential("openai", OWN).await;
    let owner = gateway.owner().await;
    Person::of(&gateway.origin, &owner.patch("/v2/me", json!({"password": PASSWORD})).await);
    for _ in 0..10 {
        let guess = sign_in(&gateway, "203.0.113.66", "owner@localhost", "not the password").await;
        problem(&guess, 401, "sign_in_failed");
    }
    let over = sign_in(&gateway, "203.0.113.66", "owner@localhost", "not the password").await;
    problem(&over, 429, "too_many_attempts");
    // What a client claims about its own address comes before the address that the proxy appends.
    let disguised = sign_in(&gateway, "198.51.100.1, 203.0.113.66", "owner@localhost", PASSWORD).await;
    problem(&disguised, 429, "too_many_attempts");
    // The owner, at another address, gets in.
    sign_in(&gateway, "198.51.100.1", "owner@localhost", PASSWORD).await.must_be(200);
    let (key, _) = gateway.key(json!({"name": "office", "ip_allowlist": ["198.51.100.0/24"]})).await;
    for (from, status) in [("198.51.100.7", 200), ("203.0.113.9", 403), ("198.51.100.7, 203.0.113.9", 403)] {
        let client = gateway.with_key(&key).header("x-forwarded-for", from);
        let answer = client.post(CHAT, &question(MINI)).await.unwrap();
        assert_eq!(answer.status, status, "{from}: {}", answer.text());
    }
}

#[tokio::test]
async fn pages_of_a_configured_origin_may_call() {
    let gateway = Gateway::with(config(), &[("TIDEGATE_CORS_ORIGINS", "https://app.example")]).await;
    gateway.credential("openai", OWN).await;
    let app = "https://app.example";
    for (origin, allowed) in [(app, Some(app)), ("https://b.example", None)] {
        let client = gateway.client().header("origin", origin);
        for request in [question(MINI), json!({})] {
            let answer = client.post(CHAT, &request).await.unwrap();
            assert_eq!(answer.header("access-control-allow-origin"), allowed, "{origin}: {}", answer.text());
        }
    }
}

#[tokio::test]
async fn pages_of_an_origin_read_what_their_key_and_project_list() {
    const ALLOW: &str = "access-control-allow-origin";
    let gateway = Gateway::with_own().await;
    let project = async |name: &str, origins: serde_json::Value| {
        id_of(&gateway.make("/v2/projects", json!({"name": name, "origins": origins})).await)
    };
    let apps = project("apps", json!(["https://a.example", "https://b.example"])).await;
    let shop = project("shop", json!([])).await;
    let key = async |project: &str, origins: serde_json::Value| {
        let body = json!({"name": origins.to_string(), "project_id": project, "origins": origins});
        gateway.key(body).await
    };
    let preflight = async |origin: &str| {
        let headers = [("origin", origin), ("access-control-request-method", "POST")];
        let client = Client::new(&gateway.origin);
        let answer = client.call(http::Method::OPTIONS, CHAT, &headers, "").await.unwrap();
        (answer.status, answer.header(ALLOW).map(str::to_owned))
    };
    assert_eq!(preflight("https://c.example").await, (405, None));
    // Which of the origins a, b, c and d may read an answer: a key's list narrows its project's.
    let (plain, _) = key(&apps, json!([])).await;
    let (narrow, _) = key(&apps, json!(["https://b.example", "https://c.example"])).await;
    let (own, own_id) = key(&shop, json!(["https://c.example"])).await;
    let (closed, _) = key(&shop, json!([])).await;
    for (key, may_read) in [(&plain, "ab"), (&narrow, "b"), (&own, "c"), (&closed, "")] {
        for letter in ["a", "b", "c", "d"] {
            let origin = format!("https://{letter}.example");
            let answer =
                gateway.with_key(key).header("origin", &origin).post(CHAT, &question(MINI)).await.unwrap();
            let expected = may_read.contains(letter).then_some(&*origin);
            assert_eq!((answer.status, answer.header(ALLOW)), (200, expected), "{key} {may_read} {origin}");
        }
    }
    // A preflight request has no key, so any key's and project's origin may ask, while the key isn't revoked.
    for letter in ["a", "b", "c"] {
        let origin = format!("https://{letter}.example");
        assert_eq!(preflight(&origin).await, (204, Some(origin)));
    }
    assert_eq!(preflight("https://d.example").await, (405, None));
    let path = format!("/v2/api-keys/{own_id}");
    let changed = gateway.patch(&path, json!({"origins": ["https://d.example"]})).await;
    assert_eq!(changed["origins"], json!(["https://d.example"]));
    assert_eq!(preflight("https://d.example").await.0, 204);
    gateway.remove(&path).await;
    assert_eq!(preflight("https://d.example").await.0, 405);
    gateway.patch(&format!("/v2/projects/{apps}"), json!({"origins": ["https://b.example"]})).await;
    assert_eq!(preflight("https://a.example").await.0, 405);
    for wrong in [vec!["https://a.example/"], vec!["a.example"], vec!["https://a,b"], vec!["*"; 33]] {
        let answer = gateway.patched(&format!("/v2/projects/{shop}"), json!({"origins": wrong})).await;
        assert_eq!(problem(&answer, 400, "invalid_value")["param"], "origins", "{}", answer.text());
    }
}

#[tokio::test]
async fn other_vendors_paths_below_v2_name_ours() {
    let gateway = Gateway::start().await;
    for (path, address) in [("/v2/chat", "/v1/chat/completions"), ("/v2/rerank", "/v1/rerank")] {
        let answer = gateway.client().post(path, &json!({})).await.unwrap();
        let fix = problem(&answer, 404, "not_found")["fix"].as_str().unwrap().to_owned();
        assert!(fix.contains(address), "{fix}");
    }
}

#[tokio::test]
async fn without_a_trusted_proxy_nobody_says_who_asks() {
    let gateway = Gateway::with_own().await;
    let (key, _) = gateway.key(json!({"name": "office", "ip_allowlist": ["198.51.100.0/24"]})).await;
    let client = gateway.with_key(&key).header("x-forwarded-for", "198.51.100.7");
    client.post(CHAT, &question(MINI)).await.unwrap().must_be(403);
}

#[tokio::test]
async fn a_second_process_on_an_address_is_refused() {
    let gateway = Gateway::start().await;
    let address = gateway.address().to_string();
    let second = gateway.directory().join("second").display().to_string();
    let message =
        format!("{address} is in use by another process: stop it, or choose another address with --listen");
    assert_eq!(Cli::new().run(&["init", "--data-dir", &second]).code, 0);
    let serve = Cli::new().run(&["serve", "--listen", &address, "--data-dir", &second]);
    assert!(serve.code == 1 && serve.stderr.contains(&message), "{serve:?}");
    let node = Cli::new().run(&["node", "--model", "echo", "--listen", &address]);
    assert!(node.code == 1 && node.stderr.contains(&message), "{node:?}");
    // Every connection still reaches the first process.
    for _ in 0..32 {
        gateway.client().get("/v1/models").await.unwrap().must_be(200);
    }
}

/// With few file descriptors, and idle sockets that would take them all, a call still reaches its provider.
#[tokio::test]
async fn descriptors_are_kept_for_upstreams() {
    const DESCRIPTORS: usize = 64;
    let directory = tempfile::tempdir().unwrap();
    let limited = directory.path().join("limited");
    let program = harness::process::tidegate().unwrap();
    let script = format!("#!/bin/sh\nulimit -n {DESCRIPTORS}\nexec {} \"$@\"\n", program.display());
    std::fs::write(&limited, script).unwrap();
    std::fs::set_permissions(&limited, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut gateway = Gateway::of(limited, config(), &[]).await;
    gateway.credential("openai", OWN).await;
    // It keeps its place among the connections that are served.
    let mut caller = RawConnection::open(gateway.address(), WITHIN).await.unwrap();
    caller.write("GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    caller.read_until(|bytes| bytes.ends_with(b"live\n")).await.unwrap();
    let mut idle = Vec::new();
    for _ in 0..80 {
        idle.push(RawConnection::open(gateway.address(), WITHIN).await.unwrap());
    }
    let body = question(MINI).to_string();
    let request = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        gateway.founded.api_key,
        body.len()
    );
    caller.write(request).await.unwrap();
    let answer = caller.read_some().await.unwrap();
    assert_eq!(status_of(&answer), Some(200), "{}", String::from_utf8_lossy(&answer));
    let pid = gateway.process().pid();
    let (_, open) = resources(pid).unwrap();
    assert!(open < DESCRIPTORS, "{open} descriptors are open");
    let log = gateway.process().stderr();
    assert!(!log.contains("could not be accepted"), "{log}");
    drop(idle);
}
