//! How streams are cut into frames on the wire, and packed bodies unpacked: incremental, bounded, pure.

pub mod event_stream;
pub mod multipart;
pub mod sse;
pub mod unpack;
pub mod websocket;
