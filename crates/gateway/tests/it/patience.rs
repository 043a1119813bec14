//! Slow clients: heads, bodies and readers that take their time, and what the gateway does when it closes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gateway::{GatewaySettings, Proxies, Times};

use crate::fixture::{Fixture, Plan, Wire};

const HELLO: &str = r#"{"model":"echo","messages":[{"role":"user","content":"hello"}]}"#;

fn impatient() -> Times {
    Times {
        head: Duration::from_millis(150),
        idle: Duration::from_millis(400),
        body_grace: Duration::from_millis(150),
        body_rate_bytes_s: 1024,
        write_stall: Duration::from_millis(300),
        ..Times::default()
    }
}

fn fixture() -> Fixture {
    Fixture::start(Plan { times: impatient(), ..Plan::default() })
}

#[test]
fn a_slow_head_is_answered_408_and_a_silent_connection_is_closed() {
    let fixture = fixture();
    for part in ["G", "GET / HTTP/1.1\r\nHost: a\r\nX: ", "POST / HTTP/1.1\r\nHost: a\r\n"] {
        let mut wire = fixture.connect();
        wire.send(part.as_bytes());
        let answer = wire.answer();
        answer.must_be(408, "headers_too_slow", part);
        assert_eq!(wire.rest(), b"");
    }
    let mut silent = fixture.connect();
    assert_eq!(silent.rest(), b"");
    // A head that dribbles has no more time than one that stops.
    let mut wire = fixture.connect();
    let started = Instant::now();
    wire.socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    while started.elapsed() < Duration::from_secs(10) {
        wire.send(b"x");
        let mut byte = [0];
        if Read::read(&mut wire.socket, &mut byte).is_ok() {
            break;
        }
    }
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn an_idle_connection_outlives_the_heads_time_but_not_its_own() {
    let fixture = fixture();
    let mut wire = fixture.connect();
    let started = Instant::now();
    wire.send(&fixture.request("GET", "/v1/models", "", b""));
    assert_eq!(wire.answer().status, 200);
    assert_eq!(wire.rest(), b"");
    assert!(started.elapsed() >= impatient().idle, "{:?}", started.elapsed());
}

#[test]
fn a_slow_body_is_answered_408() {
    let fixture = fixture();
    let mut wire = fixture.connect();
    let request = fixture.chat(HELLO);
    wire.send(&request[..request.len() - 5]);
    let answer = wire.answer();
    answer.must_be(408, "request_too_slow", "a slow body");
    assert_eq!(answer.header("connection"), Some("close"));
}

/// Impatient with readers only: sending millions of words takes a busy machine longer than the other times.
fn impatient_with_readers() -> Fixture {
    let times = Times { write_stall: impatient().write_stall, ..Times::default() };
    Fixture::start(Plan { times, ..Plan::default() })
}

/// A stream of millions of words, of whose answer only the start is read, which arrives
/// with the upstream's first word.
fn start_long_stream(fixture: &Fixture) -> Wire {
    let prompt = "word ".repeat(2_000_000);
    let body = HELLO.replace("hello", &prompt).replacen('{', r#"{"stream":true,"#, 1);
    let mut wire = fixture.connect();
    wire.send(&fixture.chat(&body));
    let mut started = [0; 12];
    wire.socket.read_exact(&mut started).unwrap();
    assert_eq!(&started, b"HTTP/1.1 200");
    wire
}

#[test]
fn a_reader_that_stalls_is_cut_and_its_upstream_with_it() {
    let fixture = impatient_with_readers();
    let _wire = start_long_stream(&fixture);
    // Its connections are counted until the gateway gives up on it. Only the polling one is left; the one
    // before it may take a moment to be gone.
    fixture.until("both of its connections are gone", |fixture| {
        fixture.gauge("tidegate_connections ") <= 1 && fixture.gauge("tidegate_upstream_connections") == 0
    });
}

#[test]
fn a_drain_lets_what_runs_end_and_nothing_new_begin() {
    let mut fixture = Fixture::start(Plan::default());
    let running = fixture.gateway.take().unwrap();
    let mut idle = fixture.connect();
    idle.send(&fixture.request("GET", "/v1/models", "", b""));
    assert_eq!(idle.answer().status, 200);
    let request = fixture.chat(HELLO);
    let (before, after) = request.split_at(request.len() - 5);
    let mut wire = fixture.connect();
    wire.send(before);
    fixture.until("three connections are open", |fixture| fixture.gauge("tidegate_connections ") >= 3);
    running.drain();
    assert_eq!(idle.rest(), b"", "an idle connection is closed at once");
    wire.send(after);
    let answer = wire.answer();
    assert_eq!(answer.status, 200);
    assert_eq!(wire.rest(), b"");
    drop((idle, wire));
    running.join();
    assert!(std::net::TcpStream::connect(fixture.address).is_err());
}

#[test]
fn a_drain_answers_whoever_was_let_in_before_it() {
    let mut fixture = Fixture::start(Plan::default());
    let running = fixture.gateway.take().unwrap();
    // So many at once that some are still in the kernel's queue, and none has sent a request.
    let mut waiting: Vec<_> = (0..16).map(|_| fixture.connect()).collect();
    running.drain();
    for wire in &mut waiting {
        wire.send(&fixture.request("GET", "/v1/models", "", b""));
    }
    for wire in &mut waiting {
        assert_eq!(wire.answer().status, 200);
        assert_eq!(wire.rest(), b"");
    }
    running.join();
}

const LIVE_AND_CLOSE: &[u8] = b"GET /health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

/// Clients connect as fast as they can while gateways start and end. Every accepted connection is answered.
/// Without the listener's filter some 300 rounds (`TIDEGATE_RESTARTS`) find one that is not.
#[test]
fn nobody_who_was_let_in_is_reset_by_an_end() {
    let rounds = std::env::var("TIDEGATE_RESTARTS").map_or(10, |text| text.parse().unwrap());
    let (here, is_over) = (Mutex::new(None::<SocketAddr>), AtomicBool::new(false));
    let (answered, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let client = || {
        while !is_over.load(Ordering::SeqCst) {
            let Some(address) = *here.lock().unwrap() else { continue };
            // A client that waits longer than this was not accepted: the kernel drops its SYNs.
            match TcpStream::connect_timeout(&address, Duration::from_millis(50)) {
                Ok(mut socket) => {
                    socket.write_all(LIVE_AND_CLOSE).unwrap();
                    let mut answer = Vec::new();
                    socket.read_to_end(&mut answer).expect("who is let in is answered");
                    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
                    answered.fetch_add(1, Ordering::SeqCst);
                }
                Err(_) => drop(refused.fetch_add(1, Ordering::SeqCst)),
            }
        }
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(client)).collect();
        for _ in 0..rounds {
            let mut fixture = Fixture::start(Plan::default());
            *here.lock().unwrap() = Some(fixture.address);
            let before = answered.load(Ordering::SeqCst);
            let deadline = Instant::now() + Duration::from_secs(60);
            while answered.load(Ordering::SeqCst) < before + 50
                && !clients.iter().all(|one| one.is_finished())
            {
                assert!(Instant::now() < deadline, "fewer than 50 requests were answered");
                std::thread::yield_now();
            }
            let running = fixture.gateway.take().unwrap();
            running.drain();
            running.join();
        }
        is_over.store(true, Ordering::SeqCst);
    });
    assert!(refused.into_inner() > 0, "nobody came as a gateway ended");
}

#[test]
fn a_stop_cuts_at_once() {
    let mut fixture = Fixture::start(Plan::default());
    let running = fixture.gateway.take().unwrap();
    let mut wire = fixture.connect();
    let request = fixture.chat("{}");
    wire.send(&request[..request.len() - 1]);
    fixture.until("two connections are open", |fixture| fixture.gauge("tidegate_connections ") >= 2);
    running.stop();
    running.join();
    assert_eq!(wire.socket.take_error().unwrap().map(|error| error.kind()), None);
}

/// It reads a little now and then, always before the stall timeout.
#[test]
fn a_reader_that_trickles_is_cut() {
    let fixture = impatient_with_readers();
    let mut wire = start_long_stream(&fixture);
    let started = Instant::now();
    while fixture.gauge("tidegate_connections ") > 1 || fixture.gauge("tidegate_upstream_connections") > 0 {
        let _ = Read::read(&mut wire.socket, &mut [0; 1]);
        assert!(started.elapsed() < Duration::from_secs(60), "it is still served");
    }
}

/// It sent more ahead than the 64 KiB that are read, so that its end is not read either. All of it fits what
/// the kernel takes: behind what it doesn't take, the end would never arrive.
#[test]
fn a_client_that_leaves_behind_what_it_sent_ahead_is_noticed() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let fixture = Fixture::start(Plan { upstream: Some(silent.local_addr().unwrap()), ..Plan::default() });
    let mut wire = fixture.connect();
    wire.send(&fixture.chat(HELLO));
    let (_request, _) = silent.accept().unwrap();
    wire.socket.set_nonblocking(true).unwrap();
    let ahead = fixture.request("GET", "/v1/models", "", b"").repeat(1_024);
    let mut sent = 0;
    while sent < (64 + 16) * 1024 {
        sent += wire.socket.write(&ahead[..1_024]).unwrap_or(0);
    }
    drop(wire);
    let left = Instant::now();
    while fixture.gauge("tidegate_upstream_connections") > 0 {
        assert!(left.elapsed() < Duration::from_secs(10), "the call goes on");
    }
}

#[test]
fn clients_beyond_the_room_wait_until_one_has_left() {
    let fixture = Fixture::start(Plan { connections_max: 3, ..Plan::default() });
    let live = b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut held: Vec<_> = (0..3).map(|_| fixture.connect()).collect();
    for wire in &mut held {
        wire.send(live);
        assert_eq!(wire.answer().status, 200);
    }
    // Every core may have found room just before it was gone.
    let mut waiting: Vec<_> = (0..8).map(|_| fixture.connect()).collect();
    for wire in &mut waiting {
        wire.send(live);
        wire.socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    }
    let mut bytes = [0; 1];
    let answered = waiting.iter().filter(|wire| wire.socket.peek(&mut bytes).is_ok()).count();
    assert!(answered <= 2, "{answered} of 8 are answered");
    drop(held);
    let deadline = Instant::now() + Duration::from_secs(60);
    while !waiting.is_empty() {
        assert!(Instant::now() < deadline, "{} clients still wait", waiting.len());
        waiting.retain(|wire| wire.socket.peek(&mut bytes).is_err());
    }
}

#[test]
fn an_address_is_served_by_one_process_at_a_time() {
    let fixture = Fixture::start(Plan::default());
    let service = || {
        let settings = node::NodeSettings {
            world: world::World::system(),
            keys: Vec::new(),
            runtime_name: "echo",
            data_dir: None,
            adapters: None,
            topology: node::Topology::default(),
        };
        node::Service::new(std::sync::Arc::new(node::Echo), settings).unwrap()
    };
    let settings = GatewaySettings {
        listen: fixture.address,
        workers: 2,
        times: Times::default(),
        proxies: Proxies::default(),
        origins: gateway::Origins::default(),
        connections_max: usize::MAX,
        queue_delay_max: Duration::ZERO,
        in_flight_max: 0,
        body_bytes_max: 64 * 1024 * 1024,
    };
    let refused = gateway::serve_node(service(), &settings).err().unwrap();
    let refused = refused.to_string();
    assert!(refused.starts_with(&format!("{} is in use by another process: ", fixture.address)), "{refused}");
    // All its workers are still served by the first, and by each of its cores.
    for _ in 0..64 {
        assert_eq!(fixture.look("/health/live").status, 200);
    }
}
