//! Reads what MCP servers send without one, for the fuzz targets.

use super::message;

/// Whether a message is the answer to the request of this id, and what it is answered itself.
pub fn read_message(bytes: &[u8], id: u64) -> (bool, Option<String>) {
    (message::message_with(bytes, id).is_some(), message::reply_to(bytes))
}
