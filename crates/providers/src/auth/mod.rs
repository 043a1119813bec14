//! Authentication schemes, one file each.

pub(crate) mod aws;
pub(crate) mod bearer;
pub(crate) mod entra;
pub(crate) mod federation;
pub(crate) mod google;
pub(crate) mod key;
pub(crate) mod oauth;
pub(crate) mod sigv4;
pub(crate) mod subscription;

use bytes::Bytes;
use domain::{AuthKind, Fault, FaultClass};

use crate::{GrantStep, Signer};

/// A field of the `config` that this kind of secret requires.
pub(crate) fn needed<'a>(value: Option<&'a String>, field: &'static str) -> Result<&'a str, Box<Fault>> {
    value.map(String::as_str).ok_or_else(|| {
        let message = format!("The credential's config has no {field}, which its kind of secret needs.");
        let fault = Fault::new(FaultClass::UpstreamAuth, "credential_incomplete", message);
        Box::new(fault.fix(format!("Give config.{field}.")).should_retry(false))
    })
}

/// The federated token, and the answers that came after it. A token in a file is the first answer; until that
/// has been read, this is `None`.
pub(crate) fn federated_token<'a>(
    signer: &Signer<'a>,
    answers: &'a [Bytes],
) -> Option<(&'a [u8], &'a [Bytes])> {
    let (token, answers) = match (signer.hosting.auth, answers.split_first()) {
        (AuthKind::WorkloadIdentityFile, None) => return None,
        (AuthKind::WorkloadIdentityFile, Some((token, rest))) => (token.as_ref(), rest),
        _ => (signer.secret.expose(), answers),
    };
    Some((token.trim_ascii(), answers))
}

/// Requests the file named in the `config`, or else the one that the secret names.
pub(crate) fn file(signer: &Signer<'_>, named: Option<&String>) -> Result<GrantStep, Box<Fault>> {
    let path = signer.hosting.token_file.as_ref().or(named);
    needed(path, "token_file").map(|path| GrantStep::Read { path: path.to_owned() })
}

/// Unreachable through the catalogue, which offers no kind that its provider has no code for.
pub(crate) fn no_such_kind(kind: AuthKind) -> Box<Fault> {
    let message = format!("A secret of the kind {} can't be used with this provider.", kind.as_str());
    let fault = Fault::new(FaultClass::UpstreamAuth, "credential_unusable", message);
    Box::new(fault.fix("Create another credential, of a kind that the provider accepts.").should_retry(false))
}
