//! What a client offers for the protocol after an upgrade.

use http::HeaderMap;
use http::header::SEC_WEBSOCKET_PROTOCOL;

/// The subprotocols that a client offers.
pub(crate) fn protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim)
}
