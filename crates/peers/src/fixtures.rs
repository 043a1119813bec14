//! Reads what peers send without a connection, for the fuzz targets.

use http::{HeaderMap, Method, StatusCode, Uri};
use proof::PublicKey;

use crate::ListError;
use crate::frames::{AnswerHead, RequestHead};
use crate::library::BlockRequest;
pub use crate::local_network::addresses_of;
use crate::signed::SignedList;
pub use crate::usage::{RequestSize, UsageReader};

pub fn read_request(head: &[u8]) -> Option<(Method, Uri, HeaderMap)> {
    serde_json::from_slice::<RequestHead>(head).ok()?.read().ok()
}

/// The head of a request as it is sent.
pub fn write_request(method: &Method, path: &str, headers: &HeaderMap) -> Vec<u8> {
    serde_json::to_vec(&RequestHead::new(method, path, headers)).unwrap_or_default()
}

pub fn read_answer(head: &[u8]) -> Option<(StatusCode, HeaderMap)> {
    serde_json::from_slice::<AnswerHead>(head).ok()?.read().ok()
}

pub fn is_block_request(text: &[u8]) -> bool {
    serde_json::from_slice::<BlockRequest>(text).is_ok()
}

/// How many members a gateway's list names that can be used.
///
/// # Errors
/// It is no list, or another key signed it.
pub fn members_of(text: &[u8], trusted: Option<PublicKey>) -> Result<usize, ListError> {
    SignedList::parse(text, "node", trusted).map(|list| list.members.len())
}
