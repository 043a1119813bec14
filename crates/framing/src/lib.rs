//! How streams are cut into frames on the wire: incremental, bounded, pure.

pub mod event_stream;
pub mod multipart;
pub mod sse;
pub mod websocket;
