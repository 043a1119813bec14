//! Fuzzes the decoder of AWS's binary event streams.

use bolero::check;
use framing::event_stream::{Frame, FrameDecoder, FrameFault, encode_frame};

use crate::material::ITERATIONS;

/// The frames of a stream that arrives in pieces of this size, and whether it ended between two frames.
fn frames(bytes: &[u8], size: usize) -> (Vec<Frame>, Result<bool, FrameFault>) {
    let mut decoder = FrameDecoder::new();
    let mut found = Vec::new();
    for piece in bytes.chunks(size.max(1)) {
        decoder.push(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => found.push(frame),
                Ok(None) => break,
                Err(fault) => return (found, Err(fault)),
            }
        }
    }
    (found, Ok(decoder.is_empty()))
}

/// A frame with correct checksums, whatever its lengths and headers are.
fn sealed(head: &[u8], payload: &[u8], headers_bytes: u8) -> Vec<u8> {
    let length = u32::try_from(16 + head.len() + payload.len()).expect("short");
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend(u32::from(headers_bytes).to_be_bytes());
    frame.extend(crc32fast::hash(&frame).to_be_bytes());
    frame.extend_from_slice(head);
    frame.extend_from_slice(payload);
    frame.extend(crc32fast::hash(&frame).to_be_bytes());
    frame
}

#[test]
fn fuzz_event_stream_bytes() {
    check!().with_iterations(ITERATIONS).with_type::<(u8, Vec<u8>)>().for_each(|(size, bytes)| {
        let whole = frames(bytes, bytes.len());
        assert_eq!(frames(bytes, usize::from(*size) % 7 + 1), whole);
    });
}

#[test]
fn fuzz_event_stream_frames() {
    check!().with_iterations(ITERATIONS).with_type::<(u8, Vec<u8>, Vec<u8>, bool, u8)>().for_each(
        |(size, head, payload, is_true, claimed_length)| {
            let headers_bytes =
                if *is_true { u8::try_from(head.len()).unwrap_or(*claimed_length) } else { *claimed_length };
            let mut stream = sealed(head, payload, headers_bytes);
            stream.extend(encode_frame(&[(":event-type", "x")], payload).expect("short"));
            let (found, end) = frames(&stream, stream.len());
            assert_eq!(frames(&stream, usize::from(*size) % 9 + 1), (found.clone(), end));
            for frame in &found {
                assert!(frame.payload.len() <= head.len() + payload.len());
                assert!(frame.text("").is_none_or(|text| text.len() <= head.len()));
            }
            if end == Ok(true) {
                assert_eq!(found.last().and_then(|frame| frame.text(":event-type")), Some("x"));
            }
        },
    );
}
