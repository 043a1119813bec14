//! The errors of requests that are not admitted. They never repeat what was sent, since it may be a secret.

use std::net::IpAddr;

use domain::{Fault, FaultClass, LegalHoldId};
use snapshot::{Closed, Scopes};

use crate::caller::Needs;

const HOW: &str = "Send `Authorization: Bearer tg_...`; `tidegate key create` makes a key.";

fn unauthenticated(code: &'static str, message: &'static str, fix: &'static str) -> Box<Fault> {
    Box::new(Fault::new(FaultClass::Unauthenticated, code, message).fix(fix))
}

pub fn missing() -> Box<Fault> {
    unauthenticated("missing_api_key", "The request carries no API key.", HOW)
}

pub fn twice() -> Box<Fault> {
    unauthenticated(
        "invalid_api_key",
        "The request carries its Authorization or x-api-key header more than once.",
        "Send one key in one header.",
    )
}

pub fn not_bearer() -> Box<Fault> {
    unauthenticated("invalid_api_key", "The Authorization header is not of the form `Bearer KEY`.", HOW)
}

/// A data plane that may serve nothing with the configuration that it has.
pub fn closed(closed: Closed) -> Box<Fault> {
    let (code, message, fix) = match closed {
        Closed::Expired => (
            "policy_expired",
            "This data plane's configuration is over: its control plane has not confirmed it for too long.",
            "Restore the connection from the data plane to its control plane; it serves again within seconds.",
        ),
        Closed::Revoked => (
            "data_plane_revoked",
            "This data plane is revoked at its control plane.",
            "Send requests to another data plane, or join this one again.",
        ),
    };
    Box::new(
        Fault::new(FaultClass::Unavailable, code, message).fix(fix).should_retry(closed == Closed::Expired),
    )
}

pub fn held(hold: LegalHoldId) -> Box<Fault> {
    let message = format!(
        "The legal hold {hold} keeps this project's content from being deleted until it is released."
    );
    let fix =
        format!("An admin releases it with DELETE /v2/legal-holds/{hold}; then send the request again.");
    Box::new(Fault::new(FaultClass::Conflict, "legal_hold", message).fix(fix))
}

/// A key of another provider, which is a common mistake and gets its own message.
pub fn unrecognised_key() -> Box<Fault> {
    unauthenticated(
        "invalid_api_key",
        "The key is not one of this gateway: its keys begin with tg_live_ or tg_test_.",
        "Send a key of this gateway; a provider's own key is stored once with `tidegate credential add`.",
    )
}

pub fn mistyped() -> Box<Fault> {
    unauthenticated(
        "invalid_api_key",
        "The API key is mistyped or cut short: its checksum is wrong.",
        "Copy the whole key again; if it is lost, make another with `tidegate key create`.",
    )
}

pub fn unknown() -> Box<Fault> {
    unauthenticated(
        "invalid_api_key",
        "The API key is unknown here.",
        "Check that it was made on this gateway, or make another with `tidegate key create`.",
    )
}

pub fn revoked() -> Box<Fault> {
    unauthenticated(
        "revoked_api_key",
        "The API key has been revoked.",
        "Use another key, or make one with `tidegate key create`.",
    )
}

pub fn expired() -> Box<Fault> {
    unauthenticated(
        "expired_api_key",
        "The API key has expired.",
        "Use another key, or make one with `tidegate key create`.",
    )
}

const SIGN: &str = "Sign with Signature Version 4, as the AWS SDKs do.";

pub fn incomplete_signature(message: &'static str) -> Box<Fault> {
    unauthenticated("incomplete_signature", message, SIGN)
}

/// A signature that is wrong whatever the secret is.
pub fn wrong_signature(message: impl Into<std::borrow::Cow<'static, str>>) -> Box<Fault> {
    Box::new(Fault::new(FaultClass::Unauthenticated, "invalid_signature", message).fix(SIGN))
}

pub fn wrong_clock(message: String) -> Box<Fault> {
    let fault = Fault::new(FaultClass::Unauthenticated, "signature_expired", message);
    Box::new(fault.fix("Set the clock of the machine that signs, and sign again."))
}

pub fn other_signature() -> Box<Fault> {
    unauthenticated(
        "invalid_signature",
        "The signature is not that of the request with this access key's secret.",
        "Check the secret access key, that its key is not revoked, and that nothing on the way changes the request.",
    )
}

pub fn other_body() -> Box<Fault> {
    unauthenticated(
        "invalid_signature",
        "The body is another than the one whose hash was signed.",
        "Send the body that was signed, and nothing that changes it on its way.",
    )
}

pub fn unknown_access_key() -> Box<Fault> {
    unauthenticated(
        "invalid_api_key",
        "The access key is unknown here.",
        "Sign with access keys of this gateway: `tidegate key create --aws` makes a key with a pair of them.",
    )
}

/// The vault can't open the key's signing secret.
pub fn shut() -> Box<Fault> {
    unauthenticated(
        "invalid_api_key",
        "The secret of the access key can no longer be read.",
        "Make another key with `tidegate key create --aws`.",
    )
}

pub fn insufficient_scope(has: Scopes, needs: Needs) -> Box<Fault> {
    let held: Vec<&str> =
        [(has.inference, "inference"), (has.read, "read"), (has.admin, "admin"), (has.operator, "operator")]
            .into_iter()
            .filter_map(|(has, name)| has.then_some(name))
            .collect();
    let held = if held.is_empty() { "none".to_owned() } else { held.join(", ") };
    let message = format!("This needs the scope {}, and the API key has: {held}.", needs.as_str());
    let fix = format!("Use a key with the scope {}; scopes are given when a key is made.", needs.as_str());
    Box::new(Fault::new(FaultClass::Forbidden, "insufficient_scope", message).fix(fix))
}

pub fn ip_not_allowed(peer: IpAddr) -> Box<Fault> {
    let message = format!("The API key does not allow requests from {}.", peer.to_canonical());
    let fix = "Send from an allowed address, or change the key's ip_allowlist. Only the connection's own address \
               counts; forwarding headers are not read.";
    Box::new(Fault::new(FaultClass::Forbidden, "ip_not_allowed", message).fix(fix))
}
