//! HTTP/2 without TLS, as a proxy in front speaks it: requests, hosts, and floods of resets.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::fixture::{Fixture, Plan};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// `GET` over `http`; names and values as literals.
fn get(stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = vec![0x82, 0x86];
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.bytes());
        }
    }
    frame(HEADERS, 5, stream, &block)
}

struct Frame {
    kind: u8,
    stream: u32,
    payload: Vec<u8>,
}

fn read(socket: &mut impl Read) -> Option<Frame> {
    let mut head = [0; 9];
    socket.read_exact(&mut head).ok()?;
    let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
    let mut payload = vec![0; length];
    socket.read_exact(&mut payload).ok()?;
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    Some(Frame { kind: head[3], stream, payload })
}

/// The first byte of the answer's header block: a status that is in the static table is one byte.
fn status(fixture: &Fixture, fields: &[(&str, &str)]) -> u8 {
    let mut wire = fixture.connect();
    wire.send(PREFACE);
    wire.send(&frame(SETTINGS, 0, 0, &[]));
    wire.send(&get(1, fields));
    loop {
        let frame = read(&mut wire.socket).expect("an answer");
        if frame.kind == HEADERS && frame.stream == 1 {
            return frame.payload[0];
        }
        assert_ne!(frame.kind, GOAWAY, "{:?}", frame.payload);
    }
}

const OK: u8 = 0x88;
const BAD_REQUEST: u8 = 0x8c;
const NOT_FOUND: u8 = 0x8d;

#[test]
fn requests_are_answered_and_hosts_must_agree() {
    let fixture = Fixture::start(Plan::default());
    let cases: &[(&[(&str, &str)], u8)] = &[
        (&[(":path", "/health/live"), (":authority", "a")], OK),
        (&[(":path", "/health/live"), (":authority", "a"), ("host", "a")], OK),
        (&[(":path", "/health/live"), ("host", "a")], OK),
        (&[(":path", "/health/live"), (":authority", "a"), ("host", "b")], BAD_REQUEST),
        (&[(":path", "/health/live"), (":authority", "u@a")], BAD_REQUEST),
        (&[(":path", "/nothing"), (":authority", "a")], NOT_FOUND),
    ];
    for (fields, expected) in cases {
        assert_eq!(status(&fixture, fields), *expected, "{fields:?}");
    }
}

#[test]
fn a_stream_without_a_window_is_reset_and_the_others_go_on() {
    let write_stall = std::time::Duration::from_millis(200);
    let times = gateway::Times { write_stall, ..gateway::Times::default() };
    let fixture = Fixture::start(Plan { times, ..Plan::default() });
    let mut wire = fixture.connect();
    wire.send(PREFACE);
    // A SETTINGS_INITIAL_WINDOW_SIZE of zero.
    wire.send(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]));
    wire.send(&get(1, &[(":path", "/"), (":authority", "a")]));
    let reset = std::iter::from_fn(|| read(&mut wire.socket)).find(|frame| frame.kind == RESET).unwrap();
    assert_eq!(reset.stream, 1);
    wire.send(&get(3, &[(":path", "/health/live"), (":authority", "a")]));
    let answer = std::iter::from_fn(|| read(&mut wire.socket)).find(|frame| frame.kind == HEADERS).unwrap();
    assert_eq!((answer.stream, answer.payload[0]), (3, OK));
}

/// Writes to a connection until no more can be written, and expects a GOAWAY meanwhile.
fn expect_goaway(
    fixture: &Fixture,
    flood: impl FnOnce(&mut TcpStream) -> std::io::Result<()> + Send + 'static,
) {
    let mut wire = fixture.connect();
    wire.send(PREFACE);
    wire.send(&frame(SETTINGS, 0, 0, &[]));
    let mut sending = wire.socket.try_clone().unwrap();
    let sender = std::thread::spawn(move || flood(&mut sending));
    let got_goaway = std::iter::from_fn(|| read(&mut wire.socket)).any(|frame| frame.kind == GOAWAY);
    assert!(got_goaway, "the connection is told to go away");
    drop(wire);
    // Whether all of it could be written does not matter.
    let _ = sender.join().unwrap();
}

#[test]
fn a_flood_of_resets_ends_the_connection() {
    let fixture = Fixture::start(Plan::default());
    expect_goaway(&fixture, |sending| {
        (1..20_000_u32).step_by(2).try_for_each(|stream| {
            let request = get(stream, &[(":path", "/v1/models"), (":authority", "a")]);
            let cancel = frame(RESET, 0, stream, &8_u32.to_be_bytes());
            sending.write_all(&[request, cancel].concat())
        })
    });
    assert_eq!(status(&fixture, &[(":path", "/health/live"), (":authority", "a")]), OK);
}

#[test]
fn a_flood_of_frames_that_ask_for_nothing_ends_the_connection() {
    let fixture = Fixture::start(Plan::default());
    const PING: u8 = 6;
    for flood in [frame(PING, 0, 0, &[7; 8]), frame(SETTINGS, 0, 0, &[]), frame(2, 0, 1, &[0; 5])] {
        let many = flood.repeat(500);
        expect_goaway(&fixture, move |sending| (0..400).try_for_each(|_| sending.write_all(&many)));
    }
    assert_eq!(status(&fixture, &[(":path", "/health/live"), (":authority", "a")]), OK);
}
