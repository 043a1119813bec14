//! Frames as they are on the wire, wherever a stream of them is split.

use super::*;
use proptest::prelude::*;

/// The frames of a stream that arrives in pieces of this size, and how it ended.
fn decode(bytes: &[u8], size: usize) -> (Vec<Frame>, Result<bool, FrameFault>) {
    let mut decoder = FrameDecoder::new();
    let mut frames = Vec::new();
    for piece in bytes.chunks(size.max(1)) {
        decoder.push(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(fault) => return (frames, Err(fault)),
            }
        }
    }
    (frames, Ok(decoder.is_empty()))
}

fn only(bytes: &[u8]) -> Result<Frame, FrameFault> {
    let (mut frames, end) = decode(bytes, bytes.len());
    end.map(|is_whole| {
        assert!(is_whole && frames.len() == 1, "{frames:?}");
        frames.remove(0)
    })
}

/// A frame of these headers as it is on the wire.
fn raw(head: &[u8], payload: &[u8]) -> Vec<u8> {
    let lengths = [16 + head.len() + payload.len(), head.len()];
    let mut frame: Vec<u8> =
        lengths.into_iter().flat_map(|length| u32::try_from(length).unwrap().to_be_bytes()).collect();
    frame.extend(crc32fast::hash(&frame).to_be_bytes());
    frame.extend_from_slice(head);
    frame.extend_from_slice(payload);
    frame.extend(crc32fast::hash(&frame).to_be_bytes());
    frame
}

#[test]
fn a_frame_of_the_vendors_own_tests_is_read_and_written() {
    // From botocore's tests of its event streams: no headers, then one, with a payload.
    let empty = [0, 0, 0, 16, 0, 0, 0, 0, 5, 194, 72, 235, 125, 152, 200, 255];
    assert_eq!(only(&empty).unwrap().payload, "");
    assert_eq!(encode_frame(&[], b"").unwrap(), empty);
    let mut payload = vec![0, 0, 0, 29, 0, 0, 0, 0, 0xfd, 0x52, 0x8c, 0x5a];
    payload.extend_from_slice(b"{'foo':'bar'}");
    payload.extend_from_slice(&[0xc3, 0x65, 0x39, 0x36]);
    assert_eq!(only(&payload).unwrap().payload, "{'foo':'bar'}");
    assert_eq!(encode_frame(&[], b"{'foo':'bar'}").unwrap(), payload);
}

#[test]
fn a_frame_that_the_vendors_own_client_reads_is_ours_byte_for_byte() {
    // Built with another language's checksums, and read by botocore 1.44 before it was recorded here.
    const FRAME: &str = concat!(
        "000000880000005666bcd0fb0b3a6576656e742d74797065070010636f6e74656e74426c6f636b53746f700d",
        "3a636f6e74656e742d747970650700106170706c69636174696f6e2f6a736f6e0d3a6d6573736167652d7479",
        "70650700056576656e747b22636f6e74656e74426c6f636b496e646578223a302c2270223a2261626364227d",
        "6f7ed38e",
    );
    let digits: Vec<u8> =
        FRAME.bytes().map(|digit| u8::try_from(char::from(digit).to_digit(16).unwrap()).unwrap()).collect();
    let bytes: Vec<u8> = digits.chunks(2).map(|pair| pair[0] * 16 + pair[1]).collect();
    let headers = [
        (":event-type", "contentBlockStop"),
        (":content-type", "application/json"),
        (":message-type", "event"),
    ];
    let payload = br#"{"contentBlockIndex":0,"p":"abcd"}"#;
    assert_eq!(encode_frame(&headers, payload).unwrap(), bytes);
    let frame = only(&bytes).unwrap();
    assert_eq!(&*frame.payload, payload);
    assert!(headers.iter().all(|(name, value)| frame.text(name) == Some(value)));
}

#[test]
fn headers_of_every_type_are_passed_over_and_texts_are_found() {
    let mut head = b"\x01t\x00\x01f\x01\x01b\x02\x07\x01s\x03\x00\x07\x01i\x04\x00\x00\x00\x07".to_vec();
    head.extend_from_slice(
        b"\x01l\x05\0\0\0\0\0\0\0\x07\x01y\x06\x00\x02\xff\xfe\x01w\x08\0\0\0\0\0\0\0\x07",
    );
    head.extend_from_slice(b"\x01u\x09\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x07");
    head.extend_from_slice(b"\x0b:event-type\x07\x00\x0cmessageStart\x03bad\x07\x00\x01\xff");
    let frame = only(&raw(&head, b"{}")).unwrap();
    assert_eq!(frame.text(":event-type"), Some("messageStart"));
    assert_eq!(frame.text("y"), None, "bytes are no text");
    assert_eq!(frame.text("bad"), None);
    assert_eq!(frame.text("none"), None);
    assert_eq!(frame.payload, "{}");
}

#[test]
fn a_malformed_frame_is_an_error() {
    let whole = encode_frame(&[(":event-type", "metadata")], b"{\"p\":\"ab\"}").unwrap();
    for at in 0..whole.len() {
        let mut bent = whole.clone();
        bent[at] ^= 0x10;
        assert_eq!(only(&bent), Err(FrameFault::Checksum), "byte {at}");
    }
    for head in
        [&b"\x05ab"[..], b"\x01a", b"\x01a\x07\x00", b"\x01a\x07\x00\x05xx", b"\x01a\x0a", b"\x01a\x04\0\0\0"]
    {
        assert_eq!(only(&raw(head, b"")), Err(FrameFault::Malformed), "{head:?}");
    }
    let prelude = |frame: u32, headers: u32| {
        let mut bytes: Vec<u8> = [frame, headers].into_iter().flat_map(u32::to_be_bytes).collect();
        bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
        decode(&bytes, 12).1
    };
    assert_eq!(prelude(15, 0), Err(FrameFault::Malformed));
    assert_eq!(prelude(20, 5), Err(FrameFault::Malformed));
    assert_eq!(prelude(u32::MAX, u32::MAX), Err(FrameFault::Malformed));
    let (headers_max, payload_max) = (128 * 1024, 24 * 1024 * 1024);
    assert_eq!(prelude(16 + headers_max + 1, headers_max + 1), Err(FrameFault::Oversized));
    assert_eq!(prelude(16 + payload_max + 1, 0), Err(FrameFault::Oversized));
    assert_eq!(prelude(16 + payload_max + headers_max, headers_max), Ok(false), "it goes on");
}

#[test]
fn what_the_wire_can_not_say_is_not_written() {
    let long = "x".repeat(65_536);
    assert_eq!(encode_frame(&[(&long[..256], "")], b""), Err(FrameFault::Oversized));
    assert_eq!(encode_frame(&[("a", &long)], b""), Err(FrameFault::Oversized));
    let value = &long[1..];
    assert_eq!(encode_frame(&[("a", value), ("b", value), ("c", value)], b""), Err(FrameFault::Oversized));
    assert_eq!(encode_frame(&[], &vec![0; EVENT_STREAM_PAYLOAD_BYTES_MAX + 1]), Err(FrameFault::Oversized));
}

#[test]
fn the_greatest_frame_is_read_in_small_pieces_in_one_go() {
    let payload = vec![7; EVENT_STREAM_PAYLOAD_BYTES_MAX];
    let frame = encode_frame(&[(":event-type", "x")], &payload).unwrap();
    let (frames, end) = decode(&frame, 1000);
    assert_eq!((frames.len(), end), (1, Ok(true)));
    assert_eq!(frames[0].payload, payload);
}

proptest! {
    #[test]
    fn what_is_written_is_read_wherever_it_is_split(
        frames in prop::collection::vec((prop::collection::vec(("[a-z:-]{1,9}", "[ -~é]{0,9}"), 0..3), prop::collection::vec(any::<u8>(), 0..40)), 0..5),
        size in 1_usize..50,
        cut in 0_usize..200,
    ) {
        let mut stream = Vec::new();
        for (headers, payload) in &frames {
            let headers: Vec<(&str, &str)> =
                headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            stream.extend(encode_frame(&headers, payload).unwrap());
        }
        let (whole, end) = decode(&stream, stream.len());
        prop_assert_eq!(end, Ok(true));
        prop_assert_eq!(whole.len(), frames.len());
        for (frame, (headers, payload)) in whole.iter().zip(&frames) {
            prop_assert_eq!(&*frame.payload, &**payload);
            for (name, _) in headers {
                let first = headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str());
                prop_assert_eq!(frame.text(name), first);
            }
        }
        prop_assert_eq!(decode(&stream, size), (whole, Ok(true)));
        // A stream that is cut is incomplete, which is not a fault by itself.
        let cut = cut.min(stream.len());
        let (some, end) = decode(&stream[..cut], size);
        let is_between = end.unwrap();
        prop_assert!(some.len() <= frames.len());
        prop_assert!(is_between || cut < stream.len());
    }

    #[test]
    fn the_result_does_not_depend_on_where_bytes_are_split(
        bytes in prop::collection::vec(any::<u8>(), 0..80),
        size in 1_usize..20,
    ) {
        prop_assert_eq!(decode(&bytes, size), decode(&bytes, bytes.len()));
    }
}
