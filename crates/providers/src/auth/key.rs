//! An API key in a header of its own, in a single allocation, which the allocator wipes when the header is
//! dropped.

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
    // Exactly the capacity that is written: the header takes the buffer over without a copy.
    let mut value = HeaderValue::from_maybe_shared(Bytes::from(key.to_vec())).map_err(|_| unusable())?;
    value.set_sensitive(true);
    outgoing.headers.push((name, value));
    Ok(())
}
