//! Fuzzes the parser of upstream HTTP/1.1 responses.

use bolero::check;
use egress::fixtures::{WholeAnswer, read_answer};
use http::Method;

use crate::material::seeded;

const ANSWERS: &[&str] = &[
    "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nX-Request-Id:\t r1 \r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n1;x=y\r\n!\r\n0\r\nt: v\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200\r\ntransfer-encoding: Chunked\r\nconnection: x, close\r\n\r\na\r\n0123456789\r\n00\r\n\r\n",
    "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n",
    "HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\n\r\nto the end",
    "HTTP/1.1 204 No Content\r\n\r\n",
];

/// Everything in a response, in a comparable form.
fn comparable_form(answer: &WholeAnswer) -> String {
    let WholeAnswer { status, headers, body, keeps, left } = answer;
    let headers: Vec<_> =
        headers.iter().map(|(name, value)| (name.escape_ascii().to_string(), value.to_vec())).collect();
    format!("{status} {headers:?} {body:?} {keeps} {left}")
}

#[test]
fn fuzz_upstream_answer() {
    seeded(ANSWERS, check!(), |input, is_head: &bool| {
        let bytes = input.to_vec();
        let method = if *is_head { Method::HEAD } else { Method::POST };
        let whole = read_answer(&method, [&*bytes]);
        let expected = whole.as_ref().map(comparable_form);
        for size in 1..bytes.len().min(9) {
            assert_eq!(
                read_answer(&method, bytes.chunks(size)).as_ref().map(comparable_form),
                expected,
                "{size}"
            );
        }
        for at in 1..bytes.len() {
            let cut: [&[u8]; 2] = bytes.split_at(at).into();
            assert_eq!(read_answer(&method, cut).as_ref().map(comparable_form), expected, "{at}");
        }
        let Some(answer) = whole else { return };
        // Headers that were accepted are also valid for the `http` crate, and are found by name.
        let map = answer.headers.to_map();
        assert_eq!(map.len(), answer.headers.iter().count());
        for name in map.keys() {
            assert_eq!(answer.headers.get(name.as_str()), map.get(name).map(|value| value.as_bytes()));
        }
        let length = answer.headers.text("content-length").and_then(|text| text.parse::<usize>().ok());
        if !map.contains_key("transfer-encoding") && !is_head && answer.status != 204 && answer.status != 304
        {
            assert!(length.is_none_or(|length| length == answer.body.len()));
        }
    });
}
