//! A key in a header of its own, in one piece of memory, which the allocator wipes when the header is dropped.

use bytes::Bytes;
use domain::{Fault, Secret};
use http::header::{HeaderName, HeaderValue};

use super::bearer::unusable;
use crate::Outgoing;

pub(crate) fn sign(outgoing: &mut Outgoing, name: HeaderName, secret: &Secret) -> Result<(), Box<Fault>> {
    let key = secret.expose().trim_ascii();
    if key.is_empty() {
        return Ok(());
    }
    // Exactly as much room as is written: it becomes the header's own without a copy.
    let mut value = HeaderValue::from_maybe_shared(Bytes::from(key.to_vec())).map_err(|_| unusable())?;
    value.set_sensitive(true);
    outgoing.headers.push((name, value));
    Ok(())
}
