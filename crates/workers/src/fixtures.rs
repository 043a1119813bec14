//! Reads what the services of workers and their callers send, for the fuzz targets.

use domain::Secret;
use http::HeaderMap;

use crate::WorkersConfig;
use crate::callback::{Signed, Stated};
use crate::spec::Order;

/// Whether a callback is read, and whether it is signed with the secret at this moment.
pub fn read_callback(headers: &HeaderMap, body: &[u8], secret: &Secret, now_unix_s: u64) -> (bool, bool) {
    let is_signed = Signed::read(headers, now_unix_s).is_ok_and(|signed| signed.is_of(secret, body));
    (Stated::read(body).is_ok(), is_signed)
}

/// Whether an order is one that the configuration allows.
pub fn is_order(config: &WorkersConfig, provider: &str, body: &[u8]) -> bool {
    Order::read(config, Some(provider), body).is_ok()
}
