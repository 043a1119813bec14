//! Signing schemes, one file each.

pub(crate) mod aws;
pub(crate) mod bearer;
pub(crate) mod entra;
pub(crate) mod google;
pub(crate) mod key;
pub(crate) mod oauth;
pub(crate) mod sigv4;

use domain::{AuthKind, Fault, FaultClass};

/// A field of the `config` that the kind of secret can't do without.
pub(crate) fn needed<'a>(value: Option<&'a String>, field: &'static str) -> Result<&'a str, Box<Fault>> {
    value.map(String::as_str).ok_or_else(|| {
        let message = format!("The credential's config has no {field}, which its kind of secret needs.");
        let fault = Fault::new(FaultClass::UpstreamAuth, "credential_incomplete", message);
        Box::new(fault.fix(format!("Give config.{field}.")).should_retry(false))
    })
}

/// The catalogue offers no kind that a provider has no code for.
pub(crate) fn no_such_kind(kind: AuthKind) -> Box<Fault> {
    let message = format!("A secret of the kind {} can't be used with this provider.", kind.as_str());
    let fault = Fault::new(FaultClass::UpstreamAuth, "credential_unusable", message);
    Box::new(fault.fix("Make another credential, of a kind that the provider takes.").should_retry(false))
}
