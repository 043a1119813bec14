//! Reads responses without a socket, for the fuzz targets: each piece is what one read returned.

use bytes::{Buf, BytesMut};
use http::{Method, StatusCode};

use super::answer::{Framing, Reading, read_head};
use super::chunks::Decoded;
use super::connection::take;
use crate::limits::INTERIM_ANSWERS_MAX;
use crate::message::Headers;

/// A complete response.
#[derive(Debug)]
pub struct WholeAnswer {
    pub status: StatusCode,
    pub headers: Headers,
    pub body: Vec<u8>,
    /// The peer keeps the connection alive.
    pub keeps: bool,
    /// Bytes behind its end.
    pub left: usize,
}

/// Reads a response that arrives in these pieces and ends with a close; `None`
/// if it is invalid or incomplete.
pub fn read_answer<'a>(method: &Method, pieces: impl IntoIterator<Item = &'a [u8]>) -> Option<WholeAnswer> {
    let (mut bytes, mut interim, mut head) = (BytesMut::new(), 0, None);
    let mut body = Vec::new();
    for piece in pieces {
        bytes.extend_from_slice(piece);
        while head.is_none() && !bytes.is_empty() {
            match read_head(&mut bytes, method).ok()? {
                Reading::More => break,
                Reading::Interim if interim < INTERIM_ANSWERS_MAX => interim += 1,
                Reading::Interim => return None,
                Reading::Final(found) => head = Some(found),
            }
        }
        let Some(head) = &mut head else { continue };
        while !bytes.is_empty() && !head.framing.is_over() {
            match take(&mut bytes, &mut head.framing).ok()? {
                Decoded::Bytes(data) => body.extend_from_slice(data.chunk()),
                Decoded::More | Decoded::Over => break,
            }
        }
    }
    let head = head?;
    let is_whole = head.framing.is_over() || matches!(head.framing, Framing::Close);
    is_whole.then_some(WholeAnswer {
        status: head.status,
        headers: head.headers,
        body,
        keeps: head.keeps,
        left: bytes.len(),
    })
}
