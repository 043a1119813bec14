//! Request headers that are part of a wire format, and are forwarded to an upstream that speaks it.

use crate::registry::face;
use domain::Grammar;
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

/// The client's headers of this format, with every value. None of them carries a credential.
pub fn native_headers(grammar: Grammar, headers: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    let mut native = Vec::new();
    for name in face(grammar).facts().native_headers {
        let values = headers.get_all(name).iter().cloned();
        native.extend(values.map(|value| (name.clone(), value)));
    }
    native
}
