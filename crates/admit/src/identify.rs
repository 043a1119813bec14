//! Authenticates a request by its headers, before the body is read.

use std::net::IpAddr;
use std::sync::Arc;

use domain::{Fault, KeyId, ObjectOwner, SideCall, api_key};
use http::header::{AUTHORIZATION, HeaderMap, HeaderName};
use snapshot::{KeyEntry, Snapshot, has_origin};

use crate::address::is_within;
use crate::caller::{Caller, Needs, system};
use crate::fault;
use crate::signature::claimed_signer;

/// The headers in which SDKs send a key, besides `Authorization`.
static API_KEYS: [HeaderName; 3] = [
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("x-goog-api-key"),
    HeaderName::from_static("api-key"),
];
const SCHEME: &str = "bearer";

/// Authenticates and authorises the caller. `peer` is the connection's address, or the one that a trusted
/// proxy reports; other forwarding headers can't be trusted.
///
/// # Errors
/// 401 without a valid key, 403 where the key may not do this or not from this address.
pub fn identify(
    snapshot: Arc<Snapshot>,
    headers: &HeaderMap,
    peer: IpAddr,
    needs: Needs,
    now_unix_ms: u64,
) -> Result<Caller, Box<Fault>> {
    let presented = api_key::without_client_prefix(presented(headers)?);
    let Some(key) = snapshot.find_key(presented) else {
        return Err(unknown(presented));
    };
    let key = Arc::clone(allowed(key, peer, needs, now_unix_ms)?);
    // A key whose project was deleted counts as unknown.
    Caller::of_key(snapshot, key).ok_or_else(fault::unknown)
}

/// Whether pages of an origin may read the answer to a request. A key's list of origins narrows its project's; where
/// neither has one, the gateway's setting counts. A browser's preflight request names no key: any key's list allows it.
pub fn is_readable_by(origin: &str, snapshot: &Snapshot, headers: &HeaderMap, is_by_setting: bool) -> bool {
    let presented = presented(headers).ok().map(api_key::without_client_prefix);
    let presented = presented.and_then(|presented| snapshot.find_key(presented));
    // Which of the two is served depends on the path, so both have to allow it.
    let signer = claimed_signer(headers).and_then(|id| snapshot.key(id));
    let keys: Vec<_> = [presented, signer].into_iter().flatten().collect();
    if keys.is_empty() {
        return is_by_setting || snapshot.lists_origin(origin);
    }
    keys.into_iter().all(|key| key_lists(key, origin, snapshot).unwrap_or(is_by_setting))
}

/// Whether the lists of a key and its project have an origin; `None` without a list.
fn key_lists(key: &KeyEntry, origin: &str, snapshot: &Snapshot) -> Option<bool> {
    let projects = snapshot.workspace(key.workspace).into_iter().flat_map(|workspace| &workspace.projects);
    let project = projects.filter(|project| project.id == key.project).map(|project| &project.origins);
    let lists: Vec<_> = project.chain([&key.origins]).filter(|list| !list.is_empty()).collect();
    (!lists.is_empty()).then(|| lists.iter().all(|list| has_origin(list, origin)))
}

/// Whether the key is valid, and may do this from this address.
pub(crate) fn allowed(
    key: &Arc<KeyEntry>,
    peer: IpAddr,
    needs: Needs,
    now_unix_ms: u64,
) -> Result<&Arc<KeyEntry>, Box<Fault>> {
    in_force(key, now_unix_ms)?;
    if !key.ip_allowlist.is_empty() && !key.ip_allowlist.iter().any(|block| is_within(peer, block)) {
        return Err(fault::ip_not_allowed(peer));
    }
    if !needs.is_met_by(key.scopes) {
        return Err(fault::insufficient_scope(key.scopes, needs));
    }
    Ok(key)
}

fn in_force(key: &KeyEntry, now_unix_ms: u64) -> Result<(), Box<Fault>> {
    if key.revoked {
        return Err(fault::revoked());
    }
    if key.expires_unix_ms.is_some_and(|expires| expires <= now_unix_ms) {
        return Err(fault::expired());
    }
    Ok(())
}

/// The caller of a request that the gateway makes for one that a key made earlier: the key is to pay for it, and may call
/// models now. Without a key, the project is.
///
/// # Errors
/// The key was revoked, has expired, or may not do this any more.
pub fn on_behalf(
    snapshot: Arc<Snapshot>,
    owner: ObjectOwner,
    key: Option<KeyId>,
    side_call: SideCall,
    now_unix_ms: u64,
) -> Result<Caller, Box<Fault>> {
    let Some(key) = key else {
        return system(snapshot, owner.workspace, owner.project, side_call).ok_or_else(fault::unknown);
    };
    Ok(again(snapshot, owner, key, now_unix_ms)?.for_side_call(side_call))
}

/// The caller of a request that a key made earlier, and that is served now: the key may still call models.
///
/// # Errors
/// The key was revoked, has expired, or may not do this any more.
pub fn again(
    snapshot: Arc<Snapshot>,
    owner: ObjectOwner,
    key: KeyId,
    now_unix_ms: u64,
) -> Result<Caller, Box<Fault>> {
    let key = snapshot.key(key).map(Arc::clone).filter(|key| key.workspace == owner.workspace);
    let key = key.ok_or_else(fault::unknown)?;
    in_force(&key, now_unix_ms)?;
    if !Needs::Inference.is_met_by(key.scopes) {
        return Err(fault::insufficient_scope(key.scopes, Needs::Inference));
    }
    let caller = Caller::of_key(snapshot, key).filter(|caller| caller.project().id == owner.project);
    caller.ok_or_else(fault::unknown)
}

/// The key as sent. If several headers have a value, the one that looks like our key counts: a proxy in front
/// may use another header for itself.
fn presented(headers: &HeaderMap) -> Result<&str, Box<Fault>> {
    let mut own = None;
    for name in &API_KEYS {
        if let Some(key) = one(headers, name)?
            && (own.is_none() || is_ours(key))
        {
            own = Some(key);
        }
    }
    match (one(headers, &AUTHORIZATION)?, own) {
        (None, None) => Err(fault::missing()),
        (None, Some(own)) => Ok(own),
        (Some(authorization), own) => match (bearer(authorization), own) {
            (Some(token), Some(own)) if !is_ours(token) && is_ours(own) => Ok(own),
            (Some(token), _) => Ok(token),
            (None, Some(own)) => Ok(own),
            (None, None) => Err(fault::not_bearer()),
        },
    }
}

fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Box<Fault>> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(fault::twice());
    }
    // A value that isn't text can't be a key.
    let text = value.to_str().map_err(|_| fault::unrecognised_key())?.trim();
    Ok((!text.is_empty()).then_some(text))
}

fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case(SCHEME) && !token.is_empty()).then_some(token)
}

fn is_ours(text: &str) -> bool {
    let text = api_key::without_client_prefix(text);
    text.starts_with(api_key::LIVE_PREFIX) || text.starts_with(api_key::TEST_PREFIX)
}

fn unknown(presented: &str) -> Box<Fault> {
    if api_key::is_well_formed(presented) {
        fault::unknown()
    } else if is_ours(presented) {
        fault::mistyped()
    } else {
        fault::unrecognised_key()
    }
}
