//! The names under which answers are kept beside turns, in one store. No id of a tool call begins like them.

use crate::ids::{ResponseId, TraceId};
use crate::limits::KEPT_RESPONSE_PARTS_MAX;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeptName {
    /// An answer of `/v2/responses`.
    OwnResponse,
    /// An answer of `/v1/responses`, with how long it is and what it continues.
    Response,
    /// Its further part of this number.
    ResponsePart(usize),
    /// How far an answer is that is made in the background: names of no content.
    Mark(&'static str),
    OwnMark(&'static str),
}

impl KeptName {
    pub const STARTED: &str = "started";
    pub const CANCELLED: &str = "cancelled";
    pub const ENDED: &str = "ended";

    /// The name of what a request left.
    pub fn of(self, request: TraceId) -> String {
        let id = *request.as_uuid();
        match self {
            Self::OwnResponse => format!("response:{}", ResponseId::from_uuid(id)),
            Self::OwnMark(mark) => format!("response:{}:{mark}", ResponseId::from_uuid(id)),
            Self::Response => format!("kept-response:{request}"),
            Self::ResponsePart(number) => format!("kept-response:{request}:{number}"),
            Self::Mark(mark) => format!("kept-response:{request}:{mark}"),
        }
    }

    /// All that a request may have left.
    pub fn all() -> impl Iterator<Item = Self> {
        let marks = [Self::STARTED, Self::CANCELLED, Self::ENDED];
        let marks = marks.into_iter().flat_map(|mark| [Self::Mark(mark), Self::OwnMark(mark)]);
        let parts = (1..KEPT_RESPONSE_PARTS_MAX).map(Self::ResponsePart);
        [Self::OwnResponse, Self::Response].into_iter().chain(parts).chain(marks)
    }
}

/// What ends the head of a kept answer of `/v1/responses`, in its first part.
pub const HEAD_END: u8 = b'\n';

/// The head of a kept answer, and its content as far as it is in the first part. JSON has no line end of its own here.
pub fn parted(first: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = first.iter().position(|byte| *byte == HEAD_END)?;
    Some((first.get(..end)?, first.get(end + 1..)?))
}
