//! Authenticates a signed request in two steps, because its signature also covers the body.

use std::net::IpAddr;
use std::sync::Arc;

use domain::{Fault, Sealed, Secret, WorkspaceId, api_key};
use snapshot::{KeyEntry, Snapshot};

use crate::caller::{Caller, Needs};
use crate::fault;
use crate::identify::allowed;
use crate::signature::{Signature, SignedHead, hash};

/// Opens the sealed secret of an object in a workspace. The callee reports why it doesn't open.
pub type OpenSecret<'a> = &'a dyn Fn(WorkspaceId, &str, &Sealed) -> Option<Secret>;

/// A request whose access key is known, and whose signature is verified when its body has arrived.
pub struct Signed {
    key: Arc<KeyEntry>,
    snapshot: Arc<Snapshot>,
    signature: Signature,
    input: AuthorizationParameters,
    /// The signature was verified with the hash that the head declares; the body must have that hash.
    is_checked: bool,
}

/// The parameters of the authorisation.
struct AuthorizationParameters {
    peer: IpAddr,
    needs: Needs,
    now_unix_ms: u64,
}

/// Finds the claimed signer of a request. If the head declares the body's hash, the signature and the
/// authorisation are checked here, so that no body is read from an unauthenticated client.
///
/// # Errors
/// Those of `identify`, and 401 where the signature is of another time, made with another secret, or covers
/// too little.
pub fn identify_signed(
    snapshot: Arc<Snapshot>,
    head: &SignedHead<'_>,
    peer: IpAddr,
    needs: Needs,
    open: OpenSecret<'_>,
    now_unix_ms: u64,
) -> Result<Signed, Box<Fault>> {
    let signature = Signature::read(head, now_unix_ms / 1_000)?;
    let id = api_key::of_access_key(&signature.access_key_id).ok_or_else(fault::unknown_access_key)?;
    let key = Arc::clone(snapshot.key(id).ok_or_else(fault::unknown_access_key)?);
    let input = AuthorizationParameters { peer, needs, now_unix_ms };
    let mut signed = Signed { key, snapshot, signature, input, is_checked: false };
    if let Some(declared) = signed.signature.declared.clone() {
        signed.check(open, &declared)?;
        signed.is_checked = true;
    }
    Ok(signed)
}

impl Signed {
    /// The caller, once the body has arrived.
    ///
    /// # Errors
    /// 401 where the signature was not made with the key's secret, or over another body.
    pub fn into_caller(self, open: OpenSecret<'_>, body: &[u8]) -> Result<Caller, Box<Fault>> {
        let hash = hash(body);
        if !self.is_checked {
            self.check(open, &hash)?;
        } else if self.signature.declared.as_deref() != Some(&*hash) {
            return Err(fault::other_body());
        }
        Caller::of_key(self.snapshot, self.key).ok_or_else(fault::unknown_access_key)
    }

    /// Verifies the signature before anything else: the state of a key is not disclosed to someone who only
    /// knows its id. The secret of a revoked key is deleted, so its signatures are never valid. The secret is
    /// open only during this call.
    fn check(&self, open: OpenSecret<'_>, body_hash: &str) -> Result<(), Box<Fault>> {
        if self.key.revoked {
            return Err(fault::other_signature());
        }
        let sealed = self.key.access_secret.as_ref().ok_or_else(fault::unknown_access_key)?;
        let secret = open(self.key.workspace, &self.key.id.to_string(), sealed).ok_or_else(fault::shut)?;
        if !self.signature.is_of(&secret, body_hash) {
            return Err(fault::other_signature());
        }
        let AuthorizationParameters { peer, needs, now_unix_ms } = self.input;
        allowed(&self.key, peer, needs, now_unix_ms).map(|_| ())
    }
}

domain::brief_debug!(Signed, |it| key = it.key.id);
