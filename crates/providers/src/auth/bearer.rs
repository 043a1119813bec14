//! `Authorization: Bearer`, from memory that is wiped when the header is dropped.

use bytes::Bytes;
use domain::{Fault, FaultClass, Secret};
use http::header::{AUTHORIZATION, HeaderValue};

use crate::Outgoing;

/// Lends a secret to a header value without a copy outside of wiped memory.
struct Wiped(Secret);

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        self.0.expose()
    }
}

/// Signs. A server without a secret, such as a node on loopback, gets no header at all.
pub(crate) fn sign(outgoing: &mut Outgoing, secret: &Secret) -> Result<(), Box<Fault>> {
    let key = secret.expose().trim_ascii();
    if key.is_empty() {
        return Ok(());
    }
    let mut text = Vec::with_capacity(b"Bearer ".len() + key.len());
    text.extend_from_slice(b"Bearer ");
    text.extend_from_slice(key);
    let value = Bytes::from_owner(Wiped(Secret::new(text)));
    let mut value = HeaderValue::from_maybe_shared(value).map_err(|_| unusable())?;
    value.set_sensitive(true);
    outgoing.headers.insert(AUTHORIZATION, value);
    Ok(())
}

fn unusable() -> Box<Fault> {
    let message = "The credential's secret holds bytes that no HTTP header may carry.";
    Box::new(
        Fault::new(FaultClass::UpstreamAuth, "credential_unusable", message)
            .fix("Rotate the credential with the key exactly as the provider shows it.")
            .should_retry(false),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, Method};

    fn signed(secret: &str) -> Result<Outgoing, Box<Fault>> {
        let mut outgoing =
            Outgoing { method: Method::GET, url: String::new(), headers: HeaderMap::new(), body: Vec::new() };
        sign(&mut outgoing, &Secret::from_text(secret.to_owned()))?;
        Ok(outgoing)
    }

    #[test]
    fn the_header_is_sensitive_and_whole() {
        let outgoing = signed(" sk-canary\n").expect("a usable key");
        let value = outgoing.headers.get(AUTHORIZATION).expect("the header");
        assert_eq!(value.as_bytes(), b"Bearer sk-canary");
        assert!(value.is_sensitive());
        assert!(!format!("{:?}", outgoing.headers).contains("canary"));
    }

    #[test]
    fn no_secret_is_no_header_and_a_broken_one_is_told_without_its_text() {
        assert!(signed("").expect("nothing to sign").headers.is_empty());
        let fault = signed("sk-can\nary").expect_err("a line feed inside");
        assert_eq!(fault.code, "credential_unusable");
        assert!(!fault.to_string().contains("sk-"));
    }
}
