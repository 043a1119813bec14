//! Bodies: too large, too deep, decompression bombs, broken off, and those that are fine.

use std::io::Write;
use std::time::Duration;

use async_compression::tokio::write::{BrotliEncoder, DeflateEncoder, GzipEncoder, ZstdEncoder};
use domain::limits::BODY_BYTES_MAX;
use harness::pace::{Threads, Work};
use tokio::io::AsyncWriteExt;

use crate::fixture::{Fixture, Plan};

const CHAT: &str = r#"{"model":"echo","messages":[{"role":"user","content":"hello"}]}"#;

async fn pack(encoding: &str, plain: &[u8]) -> Vec<u8> {
    macro_rules! packed {
        ($encoder:ident) => {{
            let mut encoder = $encoder::new(Vec::new());
            encoder.write_all(plain).await.unwrap();
            encoder.shutdown().await.unwrap();
            encoder.into_inner()
        }};
    }
    match encoding {
        "gzip" => packed!(GzipEncoder),
        "deflate" => packed!(DeflateEncoder),
        "br" => packed!(BrotliEncoder),
        "zstd" => packed!(ZstdEncoder),
        _ => panic!("{encoding}"),
    }
}

fn packed(encoding: &str, plain: &[u8]) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(pack(encoding, plain))
}

fn encoded(fixture: &Fixture, encoding: &str, body: &[u8]) -> Vec<u8> {
    let headers = format!("Content-Type: application/json\r\nContent-Encoding: {encoding}\r\n");
    fixture.chat_with(&headers, body)
}

#[test]
fn packed_bodies_are_unpacked_and_bombs_are_not() {
    let fixture = Fixture::start(Plan::default());
    // Far below the cap, far above the ratio.
    let bomb = vec![b' '; BODY_BYTES_MAX / 8];
    for encoding in ["gzip", "deflate", "br", "zstd"] {
        let answer = fixture.ask(&encoded(&fixture, encoding, &packed(encoding, CHAT.as_bytes())));
        assert_eq!(answer.status, 200, "{encoding}: {answer:?}");
        let answer = fixture.ask(&encoded(&fixture, encoding, &packed(encoding, &bomb)));
        answer.must_be(413, "request_too_large", encoding);
        let answer = fixture.ask(&encoded(&fixture, encoding, b"not packed at all"));
        answer.must_be(400, "invalid_content_encoding", encoding);
    }
    for encoding in ["gzip, gzip", "gzip\r\nContent-Encoding: gzip", "compress", "x"] {
        let answer = fixture.ask(&encoded(&fixture, encoding, &packed("gzip", CHAT.as_bytes())));
        answer.must_be(415, "unsupported_content_encoding", encoding);
    }
    assert_eq!(fixture.ask(&encoded(&fixture, "identity", CHAT.as_bytes())).status, 200);
}

#[test]
fn a_body_over_the_cap_is_refused_by_its_length_and_by_its_bytes() {
    let fixture = Fixture::start(Plan::default());
    let head = |length: &str| {
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\n{length}\r\n\r\n",
            fixture.key
        )
    };
    // No byte of it is sent, and the refusal comes all the same.
    let answer = fixture.ask(head(&format!("Content-Length: {}", BODY_BYTES_MAX + 1)).as_bytes());
    assert_eq!((answer.status, answer.header("connection")), (413, Some("close")));
    // Chunks do not announce their total.
    let mut wire = fixture.connect();
    let mut sending = wire.socket.try_clone().unwrap();
    let head = head("Transfer-Encoding: chunked");
    let sender = std::thread::spawn(move || {
        sending.write_all(head.as_bytes()).unwrap();
        let chunk = [b"10000\r\n".as_slice(), &vec![b' '; 0x10000], b"\r\n"].concat();
        // It goes on until the server has had enough.
        while sending.write_all(&chunk).is_ok() {}
    });
    let answer = wire.answer();
    answer.must_be(413, "request_too_large", "chunks");
    drop(wire);
    sender.join().unwrap();
}

#[test]
fn identity_comes_before_the_body() {
    let fixture = Fixture::start(Plan::default());
    let answer = fixture.ask(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n",
    );
    assert_eq!(answer.status, 401, "no byte of the body was sent, and none was waited for");
}

#[test]
fn broken_bodies_are_told() {
    let fixture = Fixture::start(Plan::default());
    for (rest, what) in [
        ("Content-Length: 50\r\n\r\n{", "shorter than it says"),
        ("Transfer-Encoding: chunked\r\n\r\n5\r\nabcdeX", "a chunk without its end"),
        ("Transfer-Encoding: chunked\r\n\r\nzz\r\n", "a chunk without a size"),
    ] {
        let mut wire = fixture.connect();
        let head = "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n";
        wire.send(format!("{head}Authorization: Bearer {}\r\n{rest}", fixture.key).as_bytes());
        wire.socket.shutdown(std::net::Shutdown::Write).unwrap();
        // If the client's half is closed or the framing is lost, a 400 and a bare end are both correct.
        if let Some(answer) = wire.try_answer() {
            assert_eq!(answer.status, 400, "{what}");
        }
    }
    // More bytes than the length says are a next request, and a bad one.
    let mut wire = fixture.connect();
    wire.send(&fixture.chat(CHAT));
    wire.send(b"trailing garbage\r\n\r\n");
    assert_eq!(wire.answer().status, 200);
    assert_eq!(wire.answer().status, 400);
}

#[test]
fn bad_json_never_reaches_upstream() {
    let fixture = Fixture::start(Plan::default());
    let deep = format!(r#"{{"model":"echo","messages":{}{}}}"#, "[".repeat(500_000), "]".repeat(500_000));
    for body in ["", "{", "[]", "null", r#"{"model":"echo"}"#, "{\"model\":\"\u{0}\"}", &deep] {
        let answer = fixture.ask(&fixture.chat(body));
        assert_eq!(answer.status, 400, "{}", &body[..body.len().min(60)]);
    }
    let not_utf8 = fixture.chat_with("Content-Type: application/json\r\n", b"\xff");
    assert_eq!(fixture.ask(&not_utf8).status, 400);
    let plain = fixture.chat_with("Content-Type: text/plain\r\n", CHAT.as_bytes());
    assert_eq!(fixture.ask(&plain).status, 415);
    assert_eq!(fixture.gauge("tidegate_upstream_connections"), 0);
}

/// Case 29: no document is much dearer to read than an honest one of its size, whatever it is made of. Reading that is quadratic in anything
/// would take thousands of times as long.
#[test]
fn the_worst_document_costs_little_more_than_an_honest_one_of_its_size() {
    const BYTES: usize = 2 * 1024 * 1024;
    const TIMES_MAX: u32 = 40;
    let fixture = Fixture::start(Plan::default());
    // No model has this name: a document is read as a whole, and sent nowhere.
    let document = |messages: &str, more: &str| {
        format!(r#"{{"model":"nobody/none","messages":[{messages}],"x":[{more}]}}"#)
    };
    let turn = |text: &str| format!(r#"{{"role":"user","content":"{text}"}}"#);
    let times = |piece: &str, count: usize| vec![piece; count].join(",");
    let filled = |piece: &str| document(&turn("x"), &times(piece, BYTES / (piece.len() + 1)));
    let object = |member: fn(usize) -> String| {
        let members: Vec<_> = (0..90_000).map(member).collect();
        document(&turn("x"), &format!("{{{}}}", members.join(",")))
    };
    let parts = times(r#"{"type":"text","text":"x"}"#, 45_000);
    let worst = [
        ("numbers", filled("1")),
        ("long numbers", filled("-123456789.123456789e-123")),
        ("digits", filled(&"7".repeat(BYTES / 2))),
        ("numbers without a value", filled("1e999999")),
        ("words", filled("null")),
        ("empty texts", filled(r#""""#)),
        ("empty arrays", filled("[]")),
        ("empty objects", filled("{}")),
        ("arrays in arrays", filled(&["[".repeat(100), "]".repeat(100)].concat())),
        ("escapes", filled(&format!("\"{}\"", r"\u0041\ud83d\ude00\n".repeat(10_000)))),
        ("backslashes", filled(&format!("\"{}\"", r"\\".repeat(BYTES / 4)))),
        ("spaces", filled(&format!("{}1", " ".repeat(BYTES / 2)))),
        ("names", object(|number| format!("\"{number}\":1"))),
        ("one name", object(|_| "\"a\":1".to_owned())),
        ("one name, escaped", object(|_| r#""\u0061":1"#.to_owned())),
        ("objects in which names are too many", filled(r#"{"a":1}"#)),
        ("too deep", filled(&["[".repeat(BYTES / 2 - 1), "]".repeat(BYTES / 2 - 1)].concat())),
        ("short turns", document(&times(&turn("x"), 45_000), "")),
        ("short parts", document(&format!(r#"{{"role":"user","content":[{parts}]}}"#), "")),
    ];
    let read = |document: &str| {
        let work = Work::start(Threads::of(std::process::id(), "serve-"));
        let answer = fixture.ask(&fixture.chat(document));
        assert!(matches!(answer.status, 400 | 404), "{answer:?}");
        (answer.status, work.done())
    };
    let text = turn(&"What is the tide at the pier today? ".repeat(6));
    let turns = times(&text, BYTES / (text.len() + 1));
    let (status, honest) = read(&format!(r#"{{"model":"nobody/none","messages":[{turns}]}}"#));
    assert_eq!(status, 404, "the honest one is read");
    for (name, document) in worst {
        let (status, took) = read(&document);
        println!("{name}, {status}: {took:?} beside {honest:?}");
        assert!(took <= honest * TIMES_MAX, "{name}: {took:?} beside {honest:?}");
    }
}

#[test]
fn expect_continue_and_chunks_are_fine() {
    let fixture = Fixture::start(Plan::default());
    let mut wire = fixture.connect();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\n",
        fixture.key
    );
    wire.send(format!("{head}Expect: 100-continue\r\nContent-Length: {}\r\n\r\n", CHAT.len()).as_bytes());
    wire.send(CHAT.as_bytes());
    assert_eq!(wire.answer().status, 200);
    let (first, second) = CHAT.split_at(10);
    let chunks =
        format!("a\r\n{first}\r\n{:x};name=value\r\n{second}\r\n0\r\nTrailer: x\r\n\r\n", second.len());
    wire.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunks}").as_bytes());
    assert_eq!(wire.answer().status, 200);
}

/// A gzip body of empty blocks, ten bits each, of which each costs the decoder as much as a full one.
fn empty_blocks(bytes: usize) -> Vec<u8> {
    let four = (0..4).fold(0_u64, |bits, at| bits | 2 << (10 * at)).to_le_bytes();
    let head = b"\x1f\x8b\x08\0\0\0\0\0\0\xff".as_slice();
    [head, &four[..5].repeat(bytes / 5), b"\x03\0\0\0\0\0\0\0\0\0"].concat()
}

/// Empty gzip members, concatenated.
fn empty_members(bytes: usize) -> Vec<u8> {
    let member = b"\x1f\x8b\x08\0\0\0\0\0\0\xff\x03\0\0\0\0\0\0\0\0\0";
    member.repeat(bytes / member.len())
}

#[test]
fn bodies_that_unpack_to_nothing_are_refused_and_hold_up_nobody() {
    const MIB: usize = 1024 * 1024;
    let fixture = Fixture::start(Plan::default());
    let bare = empty_blocks(8 * MIB)[10..].to_vec();
    let bombs = [("gzip", empty_blocks(8 * MIB)), ("gzip", empty_members(8 * MIB)), ("deflate", bare)];
    let bombs: Vec<_> = bombs.iter().map(|(encoding, bomb)| encoded(&fixture, encoding, bomb)).collect();
    let ask = |bomb: &[u8]| {
        let answer = fixture.ask(bomb);
        answer.must_be(413, "packed_body_too_costly", "a bomb");
    };
    let mut worst = Duration::ZERO;
    std::thread::scope(|scope| {
        let ask = &ask;
        let senders: Vec<_> =
            bombs.iter().cycle().take(12).map(|bomb| scope.spawn(move || ask(bomb))).collect();
        while senders.iter().any(|sender| !sender.is_finished()) {
            let work = Work::start(Threads::of(std::process::id(), "serve-"));
            assert_eq!(fixture.look("/health/live").status, 200);
            worst = worst.max(work.done());
        }
    });
    println!("a neighbour waited while a thread computed for {} ms at worst", worst.as_millis());
    // The goal is 50 ms of an optimised build; before, it was half a minute.
    assert!(worst < Duration::from_millis(500), "{worst:?}");
}
