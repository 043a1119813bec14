//! Feeds the frames of AWS's binary event stream (`application/vnd.amazon.eventstream`) to a response reader.

use conversation::answer::{ReadAnswer, StreamFault};
use domain::Event;
use framing::event_stream::{Frame, FrameDecoder, FrameFault};

use super::error::frame_fault;

/// Whether a body that starts with this byte can be an event stream. The byte is the highest of a frame's
/// length, and no frame reaches twice the size limit.
pub const fn begins_frames(first: u8) -> bool {
    first < 2
}

pub const fn no_frame(fault: FrameFault) -> StreamFault {
    StreamFault::Broken(match fault {
        FrameFault::Checksum => "bad_checksum",
        FrameFault::Oversized => "oversized",
        FrameFault::Malformed => "bad_frame",
    })
}

/// Passes a frame to the reader: an event, or the error that it carries.
pub fn read_frame(
    reader: &mut dyn ReadAnswer,
    frame: &Frame,
    events: &mut Vec<Event>,
) -> Result<(), StreamFault> {
    match frame_fault(frame) {
        Some(fault) => Err(fault),
        None => {
            let name = frame.text(":event-type").unwrap_or_default();
            reader.event(name.as_bytes(), &frame.payload, events)
        }
    }
}

/// Reads a complete stream from a buffer.
pub fn read_frames(
    reader: &mut dyn ReadAnswer,
    stream: &[u8],
    events: &mut Vec<Event>,
) -> Result<(), StreamFault> {
    let mut frames = FrameDecoder::new();
    frames.push(stream);
    while events.last() != Some(&Event::Done) {
        match frames.next_frame().map_err(no_frame)? {
            Some(frame) => read_frame(reader, &frame, events)?,
            None => return reader.end(events),
        }
    }
    Ok(())
}
