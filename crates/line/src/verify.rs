//! Calls of the gateway itself: verifying a credential, account or node, probing what its server supports,
//! polling stored objects, and commands to Tidegate runtimes. They go out through egress like all others.

use std::rc::Rc;

use domain::{Fault, ProbeResult};
use execute::{PollSink, StoredPoll};
pub use execute::{
    RuntimeReply, RuntimeRequest, SecretRenewal, SubscriptionTokens, VerifyReport, VerifyTarget, is_probed,
};

use crate::Core;

/// Makes the call and reports the result. The secret is opened for it and wiped, and the vault audits the
/// opening; storing the result is up to the caller. Nothing is generated, so nothing is metered.
pub async fn verify(core: &Rc<Core>, target: VerifyTarget) -> VerifyReport {
    execute::verify(&target, &core.deps).await
}

/// Probes what a compatible server supports, with a few small calls. The server's operator may bill their
/// short answers, but they are not metered here. `models` are those known to be served there.
pub async fn probe(core: &Rc<Core>, target: VerifyTarget, models: Vec<String>) -> ProbeResult {
    execute::probe(&target, &models, &core.deps).await
}

/// Reads an object from a provider, for billing; the pieces are sent to the caller as they arrive.
pub async fn poll_object(core: &Rc<Core>, target: VerifyTarget, poll: StoredPoll, sink: PollSink) {
    execute::poll_object(&target, poll, &sink, &core.deps).await;
}

/// Deletes an object at a provider, for a purge.
///
/// # Errors
/// The provider refuses, has no such object, or does not answer.
pub async fn delete_object(
    core: &Rc<Core>,
    target: VerifyTarget,
    poll: StoredPoll,
) -> Result<(), Box<Fault>> {
    execute::delete_object(&target, poll, &core.deps).await
}

/// Queries one of our own runtimes, or sends it a command.
///
/// # Errors
/// It could not be reached, or did not answer in time.
pub async fn call_runtime(
    core: &Rc<Core>,
    target: VerifyTarget,
    request: RuntimeRequest,
) -> Result<RuntimeReply, Box<Fault>> {
    execute::call_runtime(&target, request, &core.deps).await
}

/// Renews the access token of a subscription. Storing it is up to the caller.
///
/// # Errors
/// The vendor refused, or could not be reached.
pub async fn renew(core: &Rc<Core>, target: VerifyTarget) -> Result<SecretRenewal, Box<Fault>> {
    execute::renew(&target, &core.deps).await
}
