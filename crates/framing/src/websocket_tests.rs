//! Frames as they are on the wire, wherever a stream of them is split.

use super::*;
use proptest::prelude::*;

const MASK: [u8; 4] = [1, 2, 3, 4];

/// What was seen, each with the text that was copied, and how it ended.
type All = (Vec<(Seen, Vec<u8>)>, Result<(), Violation>);

/// What is seen in bytes that arrive in pieces of this size.
fn scan(sender: Sender, bytes: &[u8], size: usize) -> All {
    let mut scanner = Scanner::new(sender, 1 << 20, 64);
    let mut all = Vec::new();
    for piece in bytes.chunks(size.max(1)) {
        let mut rest = piece;
        while !rest.is_empty() {
            match scanner.read(rest) {
                Ok(read) => {
                    rest = &rest[read.used..];
                    all.extend(read.seen.map(|seen| (seen, scanner.text().to_vec())));
                }
                Err(violation) => return (all, Err(violation)),
            }
        }
    }
    (all, Ok(()))
}

fn assert_refused(sender: Sender, bytes: &[u8], code: u16) {
    for size in [1, 2, 3, bytes.len()] {
        let (_, end) = scan(sender, bytes, size);
        assert_eq!(end.unwrap_err().code, code, "{bytes:?}");
    }
}

/// A frame with this first byte, as a client sends it.
fn masked_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    frame(first, payload, Some(MASK))
}

#[test]
fn the_examples_of_the_standard_are_read_and_written() {
    assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(text_frame(b"Hello", None), [0x81, 5, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
    let own = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(text_frame(b"Hello", Some([0x37, 0xfa, 0x21, 0x3d])), own);
    let pieces = [0x01, 3, 0x48, 0x65, 0x6c, 0x80, 2, 0x6c, 0x6f];
    for size in 1..=pieces.len() {
        let expected = vec![(Seen::Message(Kind::Text), b"Hello".to_vec())];
        assert_eq!(scan(Sender::Server, &pieces, size), (expected.clone(), Ok(())));
        assert_eq!(scan(Sender::Client, &own, size), (expected, Ok(())));
    }
    assert!(is_key("dGhlIHNhbXBsZSBub25jZQ==") && is_key(&key([7; 16])));
    assert!(!is_key("dGhlIHNhbXBsZQ==") && !is_key("no key") && !is_key(""));
}

#[test]
fn what_stands_between_the_pieces_of_a_message_is_no_part_of_it() {
    let bytes = [
        masked_frame(0x01, b"one "),
        masked_frame(0x89, b"ping"),
        masked_frame(0x00, b"two"),
        masked_frame(0x8a, b""),
        masked_frame(0x80, b"!"),
    ];
    let bytes = bytes.concat();
    for size in 1..=bytes.len() {
        let (all, end) = scan(Sender::Client, &bytes, size);
        let kinds: Vec<Seen> = all.iter().map(|(seen, _)| *seen).collect();
        assert_eq!((kinds, end), (vec![Seen::Ping, Seen::Pong, Seen::Message(Kind::Text)], Ok(())));
        assert_eq!(all[2].1, b"one two!");
    }
}

#[test]
fn a_place_between_messages_is_known() {
    let bytes = [masked_frame(0x01, b"one"), masked_frame(0x80, b"two")].concat();
    let mut scanner = Scanner::new(Sender::Client, 1 << 20, 64);
    let first = masked_frame(0x01, b"one").len();
    for (at, byte) in bytes.iter().enumerate() {
        let begins = at == 0;
        assert_eq!(scanner.is_between_messages(), begins, "{at}");
        assert_eq!(scanner.is_between_frames(), begins || at == first, "{at}");
        scanner.read(std::slice::from_ref(byte)).unwrap();
    }
    assert!(scanner.is_between_messages());
}

#[test]
fn what_may_not_come_is_refused() {
    assert_refused(Sender::Client, &text_frame(b"x", None), PROTOCOL_ERROR);
    assert_refused(Sender::Server, &text_frame(b"x", Some(MASK)), PROTOCOL_ERROR);
    // Extensions, unknown opcodes, control frames that are fragmented or too long, messages within messages.
    for first in [0xc1, 0xa1, 0x91, 0x83, 0x87, 0x8b, 0x8f, 0x09, 0x08, 0x00, 0x80] {
        assert_refused(Sender::Client, &masked_frame(first, b"x"), PROTOCOL_ERROR);
    }
    assert_refused(Sender::Client, &masked_frame(0x89, &[0; 126]), PROTOCOL_ERROR);
    assert_refused(
        Sender::Client,
        &[masked_frame(0x01, b"x"), masked_frame(0x81, b"y")].concat(),
        PROTOCOL_ERROR,
    );
    // Lengths that are longer than necessary.
    for head in [vec![0x81, 126, 0, 125], [vec![0x81, 127], 65_535_u64.to_be_bytes().to_vec()].concat()] {
        assert_refused(Sender::Server, &head, PROTOCOL_ERROR);
    }
    // A close with half a code, with a reserved code, with a reason that is not
    // text; and more bytes behind it.
    let closes: [&[u8]; 5] = [&[3], &[3, 0xed], &[0, 0], &[0xff, 0xff], &[3, 0xe8, 0xff]];
    for payload in closes {
        assert_refused(Sender::Client, &masked_frame(0x88, payload), PROTOCOL_ERROR);
    }
    assert_refused(
        Sender::Client,
        &[close_frame(NORMAL, "", Some(MASK)), masked_frame(0x81, b"")].concat(),
        PROTOCOL_ERROR,
    );
}

#[test]
fn the_head_shows_that_a_message_is_too_long() {
    let head = [vec![0x81, 127], ((1_u64 << 20) + 1).to_be_bytes().to_vec()].concat();
    assert_refused(Sender::Server, &head, TOO_BIG);
    let most = frame(0x01, &vec![b'x'; 1 << 20], None);
    assert_refused(Sender::Server, &[most, frame(0x80, b"y", None)].concat(), TOO_BIG);
}

#[test]
fn a_close_tells_its_code() {
    for (frame, code) in [
        (close_frame(GOING_AWAY, "bye", Some(MASK)), Some(GOING_AWAY)),
        (close_frame(4_999, &"é".repeat(100), Some(MASK)), Some(4_999)),
        (masked_frame(0x88, b""), None),
    ] {
        assert_eq!(scan(Sender::Client, &frame, 3), (vec![(Seen::Close(code), Vec::new())], Ok(())));
    }
}

proptest! {
    #[test]
    fn no_split_changes_what_is_seen(
        messages in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..200)), 0..6),
        mask in any::<[u8; 4]>(),
        size in 1_usize..40,
    ) {
        let written: Vec<u8> = messages
            .iter()
            .flat_map(|(is_text, payload)| frame(if *is_text { 0x81 } else { 0x82 }, payload, Some(mask)))
            .collect();
        let (whole, end) = scan(Sender::Client, &written, written.len());
        prop_assert_eq!(end, Ok(()));
        prop_assert_eq!(whole.len(), messages.len());
        for ((seen, text), (is_text, payload)) in whole.iter().zip(&messages) {
            let kind = if *is_text { Kind::Text } else { Kind::Binary };
            prop_assert_eq!(*seen, Seen::Message(kind));
            if *is_text {
                prop_assert_eq!(text, &payload[..payload.len().min(64)]);
            }
        }
        prop_assert_eq!(scan(Sender::Client, &written, size), (whole, Ok(())));
    }

    #[test]
    fn any_bytes_are_read_or_refused_the_same_in_any_pieces(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        size in 1_usize..20,
    ) {
        for sender in [Sender::Client, Sender::Server] {
            let (whole, piecewise) = (scan(sender, &bytes, bytes.len()), scan(sender, &bytes, size));
            prop_assert_eq!(whole, piecewise);
        }
    }
}
