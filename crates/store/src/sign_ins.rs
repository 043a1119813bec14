//! Sessions of signed-in people, one-time sign-in links, and the counts of attempts.

use database::handle::Database;
use domain::{MemberId, WorkspaceId};

use crate::people::{Membership, PersonRow};

/// The keyed hash of a token that only its holder has.
pub type TokenDigest = [u8; 32];

#[derive(Clone, PartialEq, Eq)]
pub struct SignInRow {
    pub digest: TokenDigest,
    pub person: MemberId,
    /// Started by a one-time link, which replaces a password for a while.
    pub by_link: bool,
    pub address: String,
    pub agent: String,
    pub created_unix_ms: u64,
    pub used_unix_ms: u64,
    pub expires_unix_ms: u64,
}

domain::brief_debug!(SignInRow, person);

#[derive(Clone, PartialEq, Eq)]
pub struct LinkRow {
    pub digest: TokenDigest,
    pub person: MemberId,
    /// The workspace that created it. Such a link can't sign in a person whom another workspace knows too:
    /// they sign in first, and the link then makes them a member.
    pub workspace: Option<WorkspaceId>,
    pub expires_unix_ms: u64,
}

domain::brief_debug!(LinkRow, person);

/// The person and memberships behind a session. Read for each request, so that revocation takes effect at
/// once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedIn {
    pub session: SignInRow,
    pub person: PersonRow,
    /// Accepted memberships, oldest first.
    pub memberships: Vec<Membership>,
}

/// The person who opens a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redeemer {
    /// This person, who is signed in.
    Known(MemberId),
    Nobody,
    /// Someone who states that they are none of the people known under the invited address.
    New,
}

/// The result of opening a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redeemed {
    By(MemberId),
    /// It is valid, but someone known under its address has to sign in first, or to state that they are
    /// someone else.
    SignInFirst,
    /// It never existed, was used, or has expired.
    Unknown,
}

/// Traces of a person's earlier sign-ins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignInTraces {
    /// An unused link exists for them.
    pub has_link: bool,
    /// They have a password, or a session that they didn't end.
    pub signed_in: bool,
}

/// Recent sign-in attempts, for rate limiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tries {
    pub count: u64,
    pub since_unix_ms: u64,
}

#[derive(Clone, Copy)]
pub struct SignIns<'a>(pub &'a Database);
