//! Fuzzes the WebSocket frame scanner.

use bolero::check;
use framing::websocket::{Scanner, Seen, Sender, Violation, text_frame};

use crate::material::ITERATIONS;

/// What was found, each with the text that was kept, and how it ended.
type All = (Vec<(Seen, Vec<u8>)>, Result<(), Violation>);

/// What is found in bytes that arrive in pieces of this size.
fn seen(sender: Sender, bytes: &[u8], size: usize) -> All {
    let mut scanner = Scanner::new(sender, 4_096, 256);
    let mut all = Vec::new();
    for piece in bytes.chunks(size.max(1)) {
        let mut rest = piece;
        while !rest.is_empty() {
            match scanner.read(rest) {
                Ok(read) => {
                    assert!(read.used > 0 && read.used <= rest.len(), "it goes on");
                    rest = rest.get(read.used..).unwrap_or_default();
                    all.extend(read.seen.map(|seen| (seen, scanner.text().to_vec())));
                }
                Err(violation) => return (all, Err(violation)),
            }
        }
    }
    (all, Ok(()))
}

#[test]
fn fuzz_websocket_bytes() {
    check!().with_iterations(ITERATIONS).with_type::<(u8, Vec<u8>)>().for_each(|(size, bytes)| {
        for sender in [Sender::Client, Sender::Server] {
            let whole = seen(sender, bytes, bytes.len());
            assert_eq!(seen(sender, bytes, usize::from(*size)), whole);
        }
    });
}

#[test]
fn fuzz_websocket_messages() {
    check!().with_iterations(ITERATIONS).with_type::<(u8, [u8; 4], Vec<Vec<u8>>)>().for_each(
        |(size, mask, messages)| {
            let messages: Vec<_> = messages.iter().filter(|message| message.len() <= 256).collect();
            let bytes: Vec<u8> =
                messages.iter().flat_map(|message| text_frame(message, Some(*mask))).collect();
            let (all, end) = seen(Sender::Client, &bytes, usize::from(*size));
            assert_eq!(end, Ok(()));
            assert!(all.iter().map(|(_, text)| text).eq(messages), "what was said is read");
        },
    );
}
