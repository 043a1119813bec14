//! More requests than a gateway can serve.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::fixture::{Fixture, Plan};

const CLIENTS: usize = 4;
const CHAT: &str = r#"{"model":"echo","messages":[{"role":"user","content":"hello tide"}]}"#;

/// Ends the clients, even if the test ends early.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A bound that every queue exceeds: clients that send one request after another are too many by it, and the
/// thread catches up when they pause. The timing of shedding is tested without a clock elsewhere.
#[test]
fn a_thread_that_stays_behind_refuses_what_is_new_until_it_has_caught_up() {
    let fixture = Fixture::start(Plan { queue_delay_max: Duration::from_micros(1), ..Plan::default() });
    let (refused, served, is_over) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let answer = fixture.ask(&fixture.chat(CHAT));
                    match answer.status {
                        200 => served.fetch_add(1, Ordering::Relaxed),
                        503 => {
                            assert!(answer.text().contains("gateway_overloaded"), "{answer:?}");
                            assert_eq!(answer.header("retry-after"), Some("1"));
                            refused.fetch_add(1, Ordering::Relaxed)
                        }
                        _ => panic!("{answer:?}"),
                    };
                }
            });
        }
        let _end = End(&is_over);
        fixture.until("a hundred requests were refused", |fixture| {
            assert_eq!(fixture.look("/health/live").status, 200, "health is told meanwhile");
            refused.load(Ordering::Relaxed) >= 100
        });
    });
    assert!(served.into_inner() > 0, "a burst is served");
    // A second without requests, as `Retry-After` says.
    let quiet = fixture.connect();
    quiet.socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    assert!(quiet.socket.peek(&mut [0]).is_err(), "nothing is sent unasked");
    assert_eq!(fixture.ask(&fixture.chat(CHAT)).status, 200);
    let counted = fixture.gauge("tidegate_refusals_total{code=\"gateway_overloaded\"}");
    assert!(refused.into_inner() <= counted, "{counted} are counted");
}

/// What has no priority is queued for a second before it is refused, which is hundreds of requests; what has the lowest is not,
/// whoever says so: its hints, its key or its route.
#[test]
fn the_lowest_priority_is_refused_before_others_are() {
    const SERVED_MAX: u32 = 50;
    let lowest = "Agent-Hints: eyJxb3MiOnsicHJpb3JpdHkiOjB9fQ\r\n";
    for (priorities, hints) in [((None, None), lowest), ((Some(0), None), ""), ((None, Some(0)), "")] {
        let queue_delay_max = Duration::from_micros(1);
        let fixture = Fixture::start(Plan { queue_delay_max, priorities, ..Plan::default() });
        let headers = format!("Content-Type: application/json\r\n{hints}");
        let request = fixture.chat_with(&headers, CHAT.as_bytes());
        let refused = (0..SERVED_MAX).find(|_| fixture.ask(&request).status == 503);
        assert!(refused.is_some(), "{priorities:?} {hints}: {SERVED_MAX} were served");
    }
}

/// An upstream that begins a stream, or an answer that is none, and never ends it.
fn endless() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for mut socket in listener.incoming().flatten() {
            let mut request = Vec::new();
            while !request.ends_with(b"}") {
                let mut bytes = [0; 4_096];
                let count = socket.read(&mut bytes).unwrap();
                request.extend_from_slice(&bytes[..count]);
            }
            if String::from_utf8_lossy(&request).contains("\"stream\":true") {
                let chunk = r#"data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"echo","choices":[{"index":0,"delta":{"content":"word "},"finish_reason":null}]}"#;
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
                socket.write_all(format!("{head}{chunk}\n\n").as_bytes()).unwrap();
            }
            open.push(socket);
        }
    });
    address
}

/// A request is in flight until its answer has ended or its client has left: before the answer's head, and while it is
/// streamed.
#[test]
fn what_a_client_leaves_is_no_longer_in_flight() {
    let streamed = CHAT.replacen('{', r#"{"stream":true,"#, 1);
    let fixture = Fixture::start(Plan { upstream: Some(endless()), ..Plan::default() });
    let in_flight = |fixture: &Fixture| fixture.gauge("tidegate_requests_in_flight");
    for (body, first) in [(CHAT, None), (&*streamed, Some(b'H'))] {
        let mut wire = fixture.connect();
        wire.send(&fixture.chat(body));
        if let Some(first) = first {
            let mut byte = [0];
            wire.socket.read_exact(&mut byte).unwrap();
            assert_eq!(byte[0], first, "the head of the answer");
        }
        fixture.until("it is in flight", |fixture| in_flight(fixture) == 1);
        drop(wire);
        fixture.until("it has ended", |fixture| in_flight(fixture) == 0);
    }
}
