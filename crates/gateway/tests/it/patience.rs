//! Slow clients: heads, bodies and readers that take their time, and what the door does when it closes.

use std::time::{Duration, Instant};

use gateway::Times;

use crate::house::{House, Plan};

fn impatient() -> Times {
    Times {
        head: Duration::from_millis(150),
        idle: Duration::from_millis(400),
        body_grace: Duration::from_millis(150),
        body_rate_bytes_s: 1024,
        write_stall: Duration::from_millis(300),
    }
}

fn house() -> House {
    House::start(Plan { times: impatient(), ..Plan::default() })
}

#[test]
fn a_slow_head_is_answered_408_and_a_silent_connection_is_closed() {
    let house = house();
    for part in ["G", "GET / HTTP/1.1\r\nHost: a\r\nX: ", "POST / HTTP/1.1\r\nHost: a\r\n"] {
        let mut wire = house.connect();
        wire.send(part.as_bytes());
        let answer = wire.answer();
        assert_eq!((answer.status, answer.code().as_str()), (408, "headers_too_slow"), "{part:?}");
        assert_eq!(wire.rest(), b"");
    }
    let mut silent = house.connect();
    assert_eq!(silent.rest(), b"");
    // A head that dribbles has no more time than one that stops.
    let mut wire = house.connect();
    let begun = Instant::now();
    wire.socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    while begun.elapsed() < Duration::from_secs(10) {
        wire.send(b"x");
        let mut byte = [0];
        if std::io::Read::read(&mut wire.socket, &mut byte).is_ok() {
            break;
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn an_idle_connection_outlives_the_heads_time_but_not_its_own() {
    let house = house();
    let mut wire = house.connect();
    let begun = Instant::now();
    wire.send(&house.request("GET", "/v1/models", "", b""));
    assert_eq!(wire.answer().status, 200);
    assert_eq!(wire.rest(), b"");
    assert!(begun.elapsed() >= impatient().idle, "{:?}", begun.elapsed());
}

#[test]
fn a_slow_body_is_answered_408() {
    let house = house();
    let mut wire = house.connect();
    let request = house.chat(r#"{"model":"echo","messages":[{"role":"user","content":"hello"}]}"#);
    wire.send(&request[..request.len() - 5]);
    let answer = wire.answer();
    assert_eq!((answer.status, answer.code().as_str()), (408, "request_too_slow"));
    assert_eq!(answer.header("connection"), Some("close"));
}

#[test]
fn a_reader_that_stalls_is_cut_and_its_upstream_with_it() {
    let house = house();
    let mut wire = house.connect();
    let prompt = "word ".repeat(2_000_000);
    let body =
        format!(r#"{{"model":"echo","stream":true,"messages":[{{"role":"user","content":"{prompt}"}}]}}"#);
    wire.send(&house.chat(&body));
    // It takes the beginning, which the upstream's first word brings, and no more.
    let mut begun = [0; 12];
    std::io::Read::read_exact(&mut wire.socket, &mut begun).unwrap();
    assert_eq!(&begun, b"HTTP/1.1 200");
    // Its connections are counted until the door gives it up. Only the one that asks is left; the one that asked before it
    // may take a moment to be gone.
    while house.gauge("tidegate_connections ") > 1 || house.gauge("tidegate_upstream_connections") > 0 {}
}

#[test]
fn a_drain_lets_what_runs_end_and_nothing_new_begin() {
    let mut house = House::start(Plan::default());
    let running = house.gateway.take().unwrap();
    let mut idle = house.connect();
    idle.send(&house.request("GET", "/v1/models", "", b""));
    assert_eq!(idle.answer().status, 200);
    let request = house.chat(r#"{"model":"echo","messages":[{"role":"user","content":"hello"}]}"#);
    let (before, after) = request.split_at(request.len() - 5);
    let mut wire = house.connect();
    wire.send(before);
    while house.gauge("tidegate_connections ") < 3 {}
    running.drain();
    assert_eq!(idle.rest(), b"", "an idle connection is closed at once");
    wire.send(after);
    let answer = wire.answer();
    assert_eq!(answer.status, 200);
    assert_eq!(wire.rest(), b"");
    drop((idle, wire));
    running.join();
    assert!(std::net::TcpStream::connect(house.address).is_err());
}

#[test]
fn a_stop_cuts_at_once() {
    let mut house = House::start(Plan::default());
    let running = house.gateway.take().unwrap();
    let mut wire = house.connect();
    let request = house.chat("{}");
    wire.send(&request[..request.len() - 1]);
    while house.gauge("tidegate_connections ") < 2 {}
    running.stop();
    running.join();
    assert_eq!(wire.socket.take_error().unwrap().map(|error| error.kind()), None);
}
