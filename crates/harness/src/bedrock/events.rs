//! AWS's binary event stream encoding: lengths, headers, payload and two checksums.

use bytes::Bytes;

use crate::emulator::frames::{self, Event};
use crate::emulator::{Behaviour, Part, PartRole};

/// The header value type for strings.
const TEXT: u8 = 7;

/// The events as frames; `error` creates the exception of a stream that breaks off.
pub(super) fn parts(
    mut events: Vec<Event>,
    behaviour: &Behaviour,
    error: impl FnOnce() -> Event,
) -> Vec<Part> {
    frames::damage(&mut events, behaviour, error);
    let roles: Vec<PartRole> = events.iter().map(|event| event.role).collect();
    let spoilt = behaviour.bad_sum.map(|at| frames::index(&roles, at));
    let frame = |(at, event): (usize, Event)| {
        let mut bytes = frame(&event);
        if let (true, Some(last)) = (spoilt == Some(at), bytes.last_mut()) {
            *last ^= 1;
        }
        Part { bytes: Bytes::from(bytes), tokens: event.tokens, role: event.role }
    };
    events.into_iter().enumerate().map(frame).collect()
}

fn frame(event: &Event) -> Vec<u8> {
    let name = event.name.unwrap_or_default();
    let (kind, named) = match event.role {
        PartRole::Error => ("exception", ":exception-type"),
        _ => ("event", ":event-type"),
    };
    let mut headers = Vec::new();
    for (name, value) in [(named, name), (":content-type", "application/json"), (":message-type", kind)] {
        headers.push(short(name.len()));
        headers.extend_from_slice(name.as_bytes());
        headers.push(TEXT);
        headers.extend_from_slice(&[0, short(value.len())]);
        headers.extend_from_slice(value.as_bytes());
    }
    let payload = event.data.as_bytes();
    let mut frame = Vec::with_capacity(16 + headers.len() + payload.len());
    frame.extend_from_slice(&long(16 + headers.len() + payload.len()));
    frame.extend_from_slice(&long(headers.len()));
    let sum = crc32fast::hash(&frame);
    frame.extend_from_slice(&sum.to_be_bytes());
    frame.extend_from_slice(&headers);
    frame.extend_from_slice(payload);
    let sum = crc32fast::hash(&frame);
    frame.extend_from_slice(&sum.to_be_bytes());
    frame
}

fn short(length: usize) -> u8 {
    u8::try_from(length).unwrap_or(u8::MAX)
}

fn long(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()
}
