//! Fuzzes the lines of batches, and the events of realtime sessions.

use bolero::check;
use dialects::{RealtimeAct, RealtimeEvent, read_batch_input, read_batch_output, rename_batch_input};

use crate::material::fuzz;

const ENDPOINTS: [&str; 4] = ["/v1/chat/completions", "/v1/embeddings", "/v1/messages", "/v1/responses"];

#[test]
fn fuzz_batch_input() {
    fuzz("batch_input", check!(), |bytes| {
        let Some(line) = read_batch_input(bytes) else { return false };
        let name = "other \"model\"";
        if let Some(renamed) = rename_batch_input(bytes, |_| Some(name.to_owned())) {
            let again = read_batch_input(&renamed).expect("what is written is read");
            assert_eq!((again.custom_id, again.model.as_str()), (line.custom_id, name));
        }
        true
    });
}

#[test]
fn fuzz_batch_output() {
    fuzz("batch_output", check!(), |bytes| {
        let read = ENDPOINTS.map(|endpoint| read_batch_output(bytes, endpoint));
        read.iter().any(Option::is_some)
    });
}

#[test]
fn fuzz_realtime_event() {
    fuzz("realtime_event", check!(), |bytes| {
        let event = RealtimeEvent::read(bytes);
        assert!(event.delta_bytes <= bytes.len() as u64);
        if !RealtimeEvent::is_whole(bytes) {
            return false;
        }
        assert_eq!(json::validate(bytes), Ok(()));
        event.act() != RealtimeAct::Other
    });
}
