//! Bounds of clients, codes and tokens.

use std::time::Duration;

/// A request to register, to redeem or to revoke.
pub(crate) const BODY_BYTES_MAX: usize = 16 * 1024;
/// Addresses of one client that a browser may be sent to, and the longest of them. A client's id has them all.
pub(crate) const REDIRECTS_MAX: usize = 5;
pub(crate) const REDIRECT_BYTES_MAX: usize = 300;
/// The state that a client gets back.
pub(crate) const STATE_BYTES_MAX: usize = 1_024;
/// How long a registration counts.
pub(crate) const CLIENT_TIME_MAX: Duration = Duration::from_secs(90 * 86_400);
/// How long a code may be redeemed.
pub(crate) const CODE_TIME_MAX: Duration = Duration::from_secs(60);
/// How long an access token is good.
pub(crate) const ACCESS_TIME_MAX: Duration = Duration::from_secs(3_600);
/// How long a person's consent counts: then they are asked again.
pub(crate) const GRANT_TIME_MAX: Duration = Duration::from_secs(90 * 86_400);
/// Consents that wait to be redeemed, of all people and of one.
pub(crate) const WAITING_MAX: u32 = 10_000;
pub(crate) const WAITING_OF_PERSON_MAX: u32 = 10;
