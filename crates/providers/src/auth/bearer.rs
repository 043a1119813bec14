//! `Authorization: Bearer`, or another scheme, in a single allocation, which the allocator wipes when the
//! header is dropped.

use bytes::Bytes;
use domain::{Fault, FaultClass, Secret};
use http::header::{AUTHORIZATION, HeaderValue};

use crate::Outgoing;

/// Signs. A server without a secret, such as a node on loopback, gets no header.
pub(crate) fn sign(outgoing: &mut Outgoing, secret: &Secret) -> Result<(), Box<Fault>> {
    sign_as("Bearer ", outgoing, secret)
}

/// The same with another scheme, which must end with a space.
pub(crate) fn sign_as(scheme: &str, outgoing: &mut Outgoing, secret: &Secret) -> Result<(), Box<Fault>> {
    let key = secret.expose().trim_ascii();
    if key.is_empty() {
        return Ok(());
    }
    // Exactly the capacity that is written: the header takes the buffer over without a copy.
    let mut text = Vec::with_capacity(scheme.len() + key.len());
    text.extend_from_slice(scheme.as_bytes());
    text.extend_from_slice(key);
    let mut value = HeaderValue::from_maybe_shared(Bytes::from(text)).map_err(|_| unusable())?;
    value.set_sensitive(true);
    outgoing.headers.push((AUTHORIZATION, value));
    Ok(())
}

pub(crate) fn unusable() -> Box<Fault> {
    let message = "The credential's secret contains bytes that an HTTP header can't carry.";
    Box::new(
        Fault::new(FaultClass::UpstreamAuth, "credential_unusable", message)
            .fix("Rotate the credential with the key exactly as the provider shows it.")
            .should_retry(false),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign_with(secret: &str) -> Result<Outgoing, Box<Fault>> {
        let mut outgoing = crate::compatible::list_models("http://host/v1");
        outgoing.headers.clear();
        sign(&mut outgoing, &Secret::from_text(secret.to_owned()))?;
        Ok(outgoing)
    }

    #[test]
    fn the_header_is_sensitive_and_whole() {
        let outgoing = sign_with(" sk-canary\n").expect("a usable key");
        let [(AUTHORIZATION, value)] = &*outgoing.headers else { panic!("not the one header") };
        assert_eq!(value.as_bytes(), b"Bearer sk-canary");
        assert!(value.is_sensitive());
        assert!(!format!("{:?}", outgoing.headers).contains("canary"));
    }

    #[test]
    fn no_secret_is_no_header_and_a_broken_one_is_told_without_its_text() {
        assert!(sign_with("").expect("nothing to sign").headers.is_empty());
        let fault = sign_with("sk-can\nary").expect_err("a line feed inside");
        assert_eq!(fault.code, "credential_unusable");
        assert!(!fault.to_string().contains("sk-"));
    }
}
