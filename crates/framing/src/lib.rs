//! Splits streams into frames, and decompresses bodies: incremental, bounded, pure.

pub mod event_stream;
pub mod form_writer;
mod limits;
pub mod multipart;
pub mod sse;
pub mod unpack;
pub mod websocket;
