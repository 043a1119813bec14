//! Feeds the frames of AWS's binary event stream (`application/vnd.amazon.eventstream`) to a response reader.

use conversation::answer::{FrameRead, ReadAnswer, ReadFrames, StreamFault};
use domain::Event;
use framing::event_stream::{Frame, FrameDecoder, FrameFault};

use super::error::frame_fault;

#[derive(Debug, Default)]
pub struct Frames(FrameDecoder);

impl ReadFrames for Frames {
    /// The byte is the highest of a frame's length, and no frame reaches twice the size limit.
    fn begins(&self, first: u8) -> bool {
        first < 2
    }

    fn push(&mut self, bytes: &[u8]) {
        self.0.push(bytes);
    }

    fn next_frame(
        &mut self,
        reader: &mut dyn ReadAnswer,
        out: &mut Vec<Event>,
    ) -> Result<Option<FrameRead>, StreamFault> {
        let frame = self.0.next_frame().map_err(no_frame)?;
        Ok(frame.map(|frame| FrameRead { result: read_frame(reader, &frame, out), bytes: frame.bytes }))
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

const fn no_frame(fault: FrameFault) -> StreamFault {
    StreamFault::Broken(match fault {
        FrameFault::Checksum => "bad_checksum",
        FrameFault::Oversized => "oversized",
        FrameFault::Malformed => "bad_frame",
    })
}

/// Passes a frame to the reader: an event, or the error that it carries.
fn read_frame(
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
