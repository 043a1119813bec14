//! Splits incoming bytes into complete events. An incomplete event is held, up to a bound.

use bytes::{Bytes, BytesMut};
use conversation::answer::StreamFault;
use domain::limits::EVENT_BYTES_MAX;
use framing::sse::{Data, EventSplitter, read_event};

/// The bytes of a stream, as far as they are not whole events yet.
#[derive(Debug, Default)]
pub struct EventBuffer {
    splitter: EventSplitter,
    carry: BytesMut,
}

impl EventBuffer {
    /// How many bytes of a chunk still belong to the end of the previous event.
    pub fn stray(&mut self, chunk: &[u8]) -> usize {
        usize::from(self.splitter.take_stray_line_feed(chunk))
    }

    /// The next event that ends in this chunk, read from `at`, which moves past it; `None` where the rest is
    /// held for the next chunk.
    ///
    /// # Errors
    /// The event is too large.
    pub fn next(&mut self, chunk: &Bytes, at: &mut usize) -> Result<Option<Bytes>, StreamFault> {
        let rest = chunk.get(*at..).unwrap_or_default();
        let Some(length) = self.splitter.find_end(rest) else {
            self.hold(rest, EVENT_BYTES_MAX)?;
            return Ok(None);
        };
        let event = if self.carry.is_empty() {
            chunk.slice(*at..*at + length)
        } else {
            self.hold(rest.get(..length).unwrap_or_default(), EVENT_BYTES_MAX)?;
            self.take()
        };
        *at += length;
        Ok(Some(event))
    }

    /// Holds bytes, up to a bound.
    ///
    /// # Errors
    /// There are more.
    pub fn hold(&mut self, bytes: &[u8], bytes_max: usize) -> Result<(), StreamFault> {
        if self.carry.len() + bytes.len() > bytes_max {
            return Err(StreamFault::Broken("oversized"));
        }
        self.carry.extend_from_slice(bytes);
        Ok(())
    }

    pub fn held(&self) -> &[u8] {
        &self.carry
    }

    pub fn take(&mut self) -> Bytes {
        self.carry.split().freeze()
    }

    /// Whether a held event has data.
    /// Holds bytes, up to a bound.
    ///
    /// # Errors
    /// There are more.
    pub fn holds_data(&self) -> bool {
        !self.carry.is_empty() && read_event(&self.carry).data != Data::None
    }

    /// The last event, where the upstream ended without the blank line that SDKs wait for.
    pub fn last(&mut self) -> Bytes {
        self.carry.extend_from_slice(if self.carry.ends_with(b"\n") { b"\n" } else { b"\n\n" });
        self.take()
    }
}
