//! Fuzzes the gateway's HTTP/1 request parser.

use bolero::check;
use gateway::{Dissection, End, dissect};
use http::Version;

use crate::material::ITERATIONS;

/// Fragments of requests, valid and invalid, that are combined at random.
const PIECES: [&str; 32] = [
    "GET / HTTP/1.1\r\n",
    "POST /v1/chat/completions HTTP/1.1\r\n",
    "GET /a HTTP/1.0\r\n",
    "OPTIONS * HTTP/1.1\r\n",
    "Host: a\r\n",
    "Host: a\r\n\r\n",
    "Host: a\r\nContent-Length: 3\r\n\r\nabc",
    "Host: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    "Content-Length: 3\r\n",
    "content-length: 0\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: gzip\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive\r\n",
    "Expect: 100-continue\r\n",
    "X: y\r\n",
    "X : y\r\n",
    " folded\r\n",
    "\r\n",
    "\n",
    "\r",
    " ",
    ":",
    "abc",
    "3\r\nabc\r\n",
    "a;x=y\r\n0123456789\r\n",
    "0\r\n\r\n",
    "0\r\nT: v\r\n\r\n",
    "0",
    "\u{0}",
    "é",
    "HTTP/1.1",
];

fn put_together(picks: &[u8]) -> Vec<u8> {
    picks.iter().flat_map(|pick| PIECES[usize::from(*pick) % PIECES.len()].bytes()).collect()
}

fn debug_strings(dissection: &Dissection) -> Vec<String> {
    dissection.requests.iter().map(|request| format!("{request:?}")).collect()
}

/// A request as a careful client would write it.
fn serialise(dissection: &Dissection) -> Vec<u8> {
    let mut bytes = Vec::new();
    for request in &dissection.requests {
        bytes.extend(format!("{} {} {:?}\r\n", request.method(), request.uri(), request.version()).bytes());
        for (name, value) in request.headers() {
            if !matches!(name.as_str(), "content-length" | "transfer-encoding") {
                bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
            }
        }
        bytes.extend(format!("content-length: {}\r\n\r\n", request.body().len()).bytes());
        bytes.extend(request.body());
    }
    bytes
}

fn keeps_its_promises(bytes: &[u8]) {
    let whole = dissect(bytes);
    for request in &whole.requests {
        let count = |name: &str| request.headers().get_all(name).iter().count();
        assert!(count("content-length") + count("transfer-encoding") <= 1, "{request:?}");
        assert!(count("host") == 1 || request.version() == Version::HTTP_10 && count("host") == 0);
    }
    // A prefix gives the same requests as the whole: no later byte changes an earlier request.
    let all = debug_strings(&whole);
    for cut in 0..bytes.len().min(200) {
        let part = dissect(&bytes[..cut]);
        assert_eq!(debug_strings(&part)[..], all[..part.requests.len()]);
        if part.end != End::Open {
            // Which of several errors is reported may depend on how much has arrived.
            assert_eq!(std::mem::discriminant(&part.end), std::mem::discriminant(&whole.end), "{cut}");
            assert_eq!(part.requests.len(), all.len(), "{cut}");
        }
    }
    // Written out and parsed again, the requests are the same.
    let again = dissect(&serialise(&whole));
    let bodies = |dissection: &Dissection| {
        let both = |request: &http::Request<Vec<u8>>| (request.uri().clone(), request.body().clone());
        dissection.requests.iter().map(both).collect::<Vec<_>>()
    };
    assert_eq!(bodies(&again), bodies(&whole));
}

#[test]
fn fuzz_requests_of_pieces() {
    check!().with_iterations(ITERATIONS).for_each(|picks: &[u8]| keeps_its_promises(&put_together(picks)));
}

#[test]
fn fuzz_requests() {
    check!().with_iterations(ITERATIONS).for_each(keeps_its_promises);
}
