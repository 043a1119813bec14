//! gRPC over HTTP/2: messages behind five bytes each, and the status at the end of a stream.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use prost::Message;

use crate::limits::MESSAGE_BYTES_MAX;

const PREFIX_BYTES: usize = 5;
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// How a stream ends other than well. The texts have no bytes that a header may not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GrpcStatus {
    pub code: u16,
    pub message: &'static str,
}

impl GrpcStatus {
    pub(crate) const OK: Self = Self::new(0, "");

    const fn new(code: u16, message: &'static str) -> Self {
        Self { code, message }
    }

    pub(crate) const fn invalid(message: &'static str) -> Self {
        Self::new(3, message)
    }

    pub(crate) const fn too_late(message: &'static str) -> Self {
        Self::new(4, message)
    }

    pub(crate) const fn not_found(message: &'static str) -> Self {
        Self::new(5, message)
    }

    pub(crate) const fn exhausted(message: &'static str) -> Self {
        Self::new(8, message)
    }

    pub(crate) const fn unsupported(message: &'static str) -> Self {
        Self::new(12, message)
    }

    /// As trailers, or as the headers of a response without a body.
    pub(crate) fn write(self, headers: &mut HeaderMap) {
        headers.insert(GRPC_STATUS, HeaderValue::from(self.code));
        if !self.message.is_empty() {
            headers.insert(GRPC_MESSAGE, HeaderValue::from_static(self.message));
        }
    }
}

/// Puts messages together from the pieces in which they arrive.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    arrived: BytesMut,
}

impl Messages {
    pub(crate) fn push(&mut self, piece: &[u8]) {
        self.arrived.extend_from_slice(piece);
    }

    /// The bytes that are held.
    pub(crate) fn len(&self) -> usize {
        self.arrived.len()
    }

    /// The next message, if it has arrived completely.
    ///
    /// # Errors
    /// It is longer than the limit, or compressed.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, GrpcStatus> {
        let Some((prefix, rest)) = self.arrived.split_at_checked(PREFIX_BYTES) else { return Ok(None) };
        let (compressed, mut length) = prefix.split_at(1);
        match compressed {
            [0] => {}
            [1] => return Err(GrpcStatus::unsupported("compressed messages are not supported")),
            _ => return Err(GrpcStatus::invalid("this is not a gRPC message")),
        }
        let length = length.get_u32() as usize;
        if length > MESSAGE_BYTES_MAX {
            return Err(GrpcStatus::exhausted("a message is longer than 16 MiB"));
        }
        if rest.len() < length {
            return Ok(None);
        }
        self.arrived.advance(PREFIX_BYTES);
        Ok(Some(self.arrived.split_to(length).freeze()))
    }
}

/// A message with its prefix.
pub(crate) fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut out = BytesMut::with_capacity(PREFIX_BYTES + length);
    out.put_u8(0);
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // It has the capacity that the message needs, which is the only error there is.
    let _ = message.encode(&mut out);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::HealthCheckRequest;
    use proptest::prelude::*;

    #[test]
    fn messages_come_out_however_they_are_cut() {
        let texts =
            ["", "readiness", "liveness"].map(|service| HealthCheckRequest { service: service.to_owned() });
        let whole: Vec<u8> = texts.iter().flat_map(frame).collect();
        for size in 1..whole.len() {
            let (mut messages, mut out) = (Messages::default(), Vec::new());
            for piece in whole.chunks(size) {
                messages.push(piece);
                while let Some(message) = messages.next().unwrap() {
                    out.push(HealthCheckRequest::decode(message).unwrap());
                }
            }
            assert_eq!((out.as_slice(), messages.len()), (&texts[..], 0));
        }
    }

    #[test]
    fn what_is_too_long_or_compressed_is_refused_by_its_prefix() {
        let refused = |prefix: &[u8]| {
            let mut messages = Messages::default();
            messages.push(prefix);
            messages.next().unwrap_err().code
        };
        assert_eq!(refused(&[0, 1, 0, 0, 1]), 8);
        assert_eq!(refused(&[0, 0xff, 0xff, 0xff, 0xff]), 8);
        assert_eq!(refused(&[1, 0, 0, 0, 1]), 12);
        assert_eq!(refused(b"GET /"), 3);
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut messages = Messages::default();
            messages.push(&bytes);
            while let Ok(Some(message)) = messages.next() {
                let _ = crate::wire::ProcessingRequest::decode(message);
            }
        }
    }
}
