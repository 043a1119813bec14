//! What the routes of `/v2` accept alike, and what signing in may cost.

use std::time::Duration;

/// Length of the name of anything; it is shown in one line.
pub const NAME_CHARS_MAX: usize = 200;
/// Length of an email address: the most that SMTP can deliver to (RFC 5321).
pub const EMAIL_BYTES_MAX: usize = 254;
/// Length of an environment's name; 63 bytes is what labels have elsewhere, such as those of DNS.
pub const ENVIRONMENT_BYTES_MAX: usize = 63;
/// Origins in one list: an app has its own, a preview and a few for development.
pub const ORIGINS_MAX: usize = 32;
/// Length of an origin: 253 bytes of host, its scheme and its port.
pub(crate) const ORIGIN_BYTES_MAX: usize = 280;

/// The longest body that says nothing which takes long to read, check or unfold.
pub(crate) const BRIEF_BODY_BYTES_MAX: usize = 1024;

/// Passwords that are hashed at the same time: each takes 19 MiB and a core for some 20 ms; more at once
/// would starve everything else here.
pub(crate) const HASHES_AT_ONCE_MAX: usize = 2;
/// How long a sign-in waits for its turn before it is refused.
pub(crate) const HASH_WAIT_MAX: Duration = Duration::from_secs(5);
/// Comparisons that a wrong password costs, also of an address that nobody or one person has.
pub(crate) const PASSWORDS_COMPARED_MIN: usize = 4;
/// Addresses and accounts whose attempts to sign in are counted; the oldest are forgotten first.
pub(crate) const TRIERS_MAX: usize = 10_000;

/// What is repeated of the words that a node says of itself while it opens a tunnel.
pub(crate) const TUNNEL_WORD_CHARS_MAX: usize = 64;
