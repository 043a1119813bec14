//! Reads what clients without a session send, for the fuzz targets.

use domain::ports::KeyHash;

use crate::claims::{Claims as _, ClientClaims};
use crate::clients::{client, read_registration};

/// The addresses of a registration, if each of them is found again in the id that is made of it; `None` where it is refused.
pub fn registered(hasher: &dyn KeyHash, body: &[u8]) -> Option<(Vec<String>, bool)> {
    let (name, redirects) = read_registration(body).ok()?;
    let id = ClientClaims { name, redirects: redirects.clone(), expires_unix_ms: 2 }.seal(hasher);
    let is_known = redirects.iter().all(|redirect| client(hasher, &id, redirect, 1).is_some());
    Some((redirects, is_known))
}

/// Whether a text is the id of a client.
pub fn is_client(hasher: &dyn KeyHash, id: &str) -> bool {
    ClientClaims::open(hasher, id, 1).is_some()
}
