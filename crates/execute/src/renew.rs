//! Renews the access token of a subscription, before it expires.

use domain::limits::GRANT_TIME_MAX;
use domain::{Fault, FaultClass, Hosting, Secret};
use providers::SubscriptionTokens;
use tokio::time::timeout;

use crate::Deps;
use crate::failure::AttemptFailure;
use crate::tokens::request_grant;
use crate::upstream::{destination, open_secret};
use crate::verify::VerifyTarget;

/// The secret that replaces the present one, and when the access token in it expires.
#[derive(Debug)]
pub struct SecretRenewal {
    pub secret: Secret,
    pub expires_unix_ms: u64,
}

/// Asks the vendor for another access token. Storing it is up to the caller: a refresh token may be good for one use.
///
/// # Errors
/// The vendor refused, which is `UpstreamAuth`, or could not be reached.
pub async fn renew(target: &VerifyTarget, deps: &Deps) -> Result<SecretRenewal, Box<Fault>> {
    let renewed = match timeout(GRANT_TIME_MAX, request(target, deps)).await {
        Ok(renewed) => renewed,
        Err(_) => Err(AttemptFailure::timeout(
            &target.provider,
            "did not renew the token",
            GRANT_TIME_MAX.as_secs(),
        )),
    };
    renewed.map_err(AttemptFailure::into_client_fault)
}

async fn request(target: &VerifyTarget, deps: &Deps) -> Result<SecretRenewal, AttemptFailure> {
    let hosting: &Hosting = target.seat.hosting();
    let exchange = providers::granting(providers::provider(&target.provider), hosting.auth)
        .map_err(AttemptFailure::of_us)?;
    let secret = open_secret(deps, &target.seat).map_err(AttemptFailure::of_us)?;
    let secret = secret.ok_or_else(|| AttemptFailure::of_us(no_secret()))?;
    let tokens = SubscriptionTokens::read(&secret).map_err(AttemptFailure::of_us)?;
    let outgoing = tokens.renewal(hosting).map_err(AttemptFailure::of_us)?;
    let to = destination(&target.seat);
    let answer = request_grant(deps, exchange, &target.provider, outgoing, to).await?;
    let renewed = tokens.renewed(&answer, deps.world.clock.unix_ms()).map_err(AttemptFailure::of_us)?;
    Ok(SecretRenewal { expires_unix_ms: renewed.expires_unix_ms, secret: renewed.to_secret() })
}

fn no_secret() -> Box<Fault> {
    let message = "The subscription has no token.";
    Box::new(Fault::new(FaultClass::UpstreamAuth, "credential_unusable", message).fix("Rotate it."))
}
