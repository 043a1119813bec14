//! Fuzzes the multipart form scanner.

use bolero::check;
use framing::multipart::{Found, Malformed, Scanner, boundary};

use crate::material::ITERATIONS;

const BOUNDARY: &str = "b";

/// What is found in a body that arrives in pieces of this size, and how it ends.
fn scan(bytes: &[u8], size: usize) -> (Vec<Found>, Result<bool, Malformed>) {
    let mut scanner = Scanner::new(BOUNDARY).unwrap();
    let mut found = Vec::new();
    for piece in bytes.chunks(size.max(1)) {
        if let Err(malformed) = scanner.push(piece, &mut found) {
            return (found, Err(malformed));
        }
    }
    (found, Ok(scanner.is_over()))
}

#[test]
fn fuzz_multipart_scanner() {
    const WORDS: [&[u8]; 9] = [
        b"--b",
        b"\r\n--b",
        b"\r\n",
        b"--",
        b"\r",
        b"Content-Disposition: form-data; name=\"model\"",
        b"; filename=\"a\"",
        b"\r\n\r\n",
        b"x",
    ];
    check!().with_iterations(ITERATIONS).with_type::<(u8, Vec<u8>)>().for_each(|(size, bytes)| {
        let words = bytes.iter().map(|byte| WORDS[usize::from(*byte) % WORDS.len()]);
        let body: Vec<u8> = words.collect::<Vec<_>>().concat();
        let (whole, end) = scan(&body, body.len());
        assert_eq!(scan(&body, usize::from(*size) % 7 + 1), (whole.clone(), end));
        let (mut open, mut is_over) = (None, false);
        for found in whole {
            match (found, open.take()) {
                (Found::Begin { from, .. }, None) => open = Some(from),
                (Found::End { until }, Some(from)) => {
                    let (from, until) = (usize::try_from(from).unwrap(), usize::try_from(until).unwrap());
                    assert!(body[until..].starts_with(b"\r\n--b"), "a value ends at its boundary");
                    assert!(!body[from..until].windows(5).any(|window| window == b"\r\n--b"));
                }
                (Found::Over, None) => is_over = true,
                other => panic!("{other:?}"),
            }
        }
        assert!(is_over || end != Ok(true));
    });
}

#[test]
fn fuzz_multipart_types() {
    check!().with_iterations(ITERATIONS).with_type::<Vec<u8>>().for_each(|bytes| {
        let text = format!("multipart/form-data;{}", String::from_utf8_lossy(bytes));
        if let Ok(found) = boundary(&text) {
            assert!(text.contains(found));
        }
    });
}
