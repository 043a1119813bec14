//! Fuzzes the splitter of server-sent event streams.

use bolero::check;
use framing::sse::{Data, EventSplitter, read_event};

use crate::material::ITERATIONS;

/// The ends of all events, as positions in the whole input.
fn ends(bytes: &[u8], chunk: usize) -> Vec<usize> {
    let mut splitter = EventSplitter::new();
    let mut found = Vec::new();
    let mut base = 0;
    for chunk in bytes.chunks(chunk) {
        let mut at = usize::from(splitter.take_stray_line_feed(chunk));
        if at == 1
            && let Some(last) = found.last_mut()
        {
            *last += 1;
        }
        while let Some(length) = splitter.find_end(&chunk[at..]) {
            at += length;
            found.push(base + at);
        }
        base += chunk.len();
    }
    found
}

#[test]
fn fuzz_sse_splitter() {
    check!().with_iterations(ITERATIONS).with_type::<(u8, Vec<u8>)>().for_each(|(chunk, bytes)| {
        // Few distinct bytes, so that line endings occur next to each other.
        let bytes: Vec<u8> = bytes.iter().map(|byte| b"\n\r:a d"[usize::from(*byte) % 6]).collect();
        let whole = ends(&bytes, bytes.len().max(1));
        assert_eq!(ends(&bytes, usize::from(*chunk) % 7 + 1), whole);
        assert!(whole.is_sorted());
    });
}

#[test]
fn fuzz_sse_event() {
    check!().with_iterations(ITERATIONS).for_each(|bytes: &[u8]| match read_event(bytes).data {
        Data::None => {}
        Data::One(range) => assert!(bytes.get(range).is_some()),
        Data::Many(ranges) => {
            assert!(ranges.len() > 1 && ranges.into_iter().all(|range| bytes.get(range).is_some()))
        }
    });
}
