//! Addresses of stored responses.

use conversation::objects::{AddressRow, addressed, at, below, read_object_address};
use conversation::request::{Addressed, StoredAct};
use domain::{Fault, FaultClass};
use http::Method;

const HOW: &str =
    "A response is read and deleted at its own address; /cancel takes POST and /input_items takes GET.";
static ADDRESSES: [AddressRow; 4] = [
    at(Method::GET, StoredAct::Read),
    at(Method::DELETE, StoredAct::Delete),
    below(Method::POST, "cancel", StoredAct::Cancel),
    below(Method::GET, "input_items", StoredAct::ListInput),
];

/// Reads what follows `/v1/responses/`.
///
/// # Errors
/// There is nothing at it, or no such operation.
pub(crate) fn read_stored_address(method: &Method, rest: &str, query: &str) -> Result<Addressed, Box<Fault>> {
    match read_object_address(&ADDRESSES, '/', method, rest) {
        Some((id, act)) => Ok(addressed(id, act, query)),
        None => {
            let message = format!("There is nothing at {method} /v1/responses/{rest}.");
            let message = message.chars().take(200).collect::<String>();
            Err(Box::new(Fault::new(FaultClass::NotFound, "unknown_path", message).fix(HOW)))
        }
    }
}
