//! Sessions of signed-in people, and links that sign in once.

use domain::{MemberId, WorkspaceId};

use crate::people::{Membership, PersonRow};
use crate::{Act, StoreFuture};

/// The keyed hash of a token that only its holder has.
pub type TokenDigest = [u8; 32];

#[derive(Clone, PartialEq, Eq)]
pub struct SignInRow {
    pub digest: TokenDigest,
    pub person: MemberId,
    /// By a one-time link, which stands in for a password for a while.
    pub by_link: bool,
    pub address: String,
    pub agent: String,
    pub created_unix_ms: u64,
    pub used_unix_ms: u64,
    pub expires_unix_ms: u64,
}

impl std::fmt::Debug for SignInRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignInRow").field("person", &self.person).finish_non_exhaustive()
    }
}

#[derive(Clone, PartialEq, Eq)]
pub struct LinkRow {
    pub digest: TokenDigest,
    pub person: MemberId,
    /// The workspace that made it. Such a link does not sign in somebody whom another workspace knows too: they sign
    /// in first, and then it makes them a member.
    pub workspace: Option<WorkspaceId>,
    pub expires_unix_ms: u64,
}

impl std::fmt::Debug for LinkRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkRow").field("person", &self.person).finish_non_exhaustive()
    }
}

/// Who a session is: read anew for each request, so that what ends ends at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedIn {
    pub session: SignInRow,
    pub person: PersonRow,
    /// Accepted ones, oldest first.
    pub memberships: Vec<Membership>,
}

/// Who opens a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redeemer {
    /// This person, who is signed in.
    Known(MemberId),
    Nobody,
    /// Somebody who is none of those that are known by the address that was invited.
    New,
}

/// What became of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redeemed {
    By(MemberId),
    /// It is good, once somebody who is known by its address has signed in, or said to be somebody else.
    SignInFirst,
    /// Never was, was used, or is too old.
    Unknown,
}

/// What is left of how a person signed in so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignInTraces {
    /// A link was made for them that nobody used.
    pub has_link: bool,
    /// They have a password, or a session that they didn't end.
    pub signed_in: bool,
}

/// How often somebody tried of late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tries {
    pub count: u64,
    pub since_unix_ms: u64,
}

pub trait SignIns: Send + Sync {
    /// Begins a session; `replaces`, where it is one, ends. `workspace` is where the audit tells it.
    fn start(
        &self,
        session: SignInRow,
        replaces: Option<TokenDigest>,
        workspace: Option<WorkspaceId>,
        act: Act,
    ) -> StoreFuture<'_, ()>;
    fn find(&self, digest: TokenDigest) -> StoreFuture<'_, Option<SignedIn>>;
    fn traces(&self, person: MemberId) -> StoreFuture<'_, SignInTraces>;
    fn touch(&self, digest: TokenDigest, unix_ms: u64) -> StoreFuture<'_, ()>;
    fn end(&self, digest: TokenDigest, workspace: Option<WorkspaceId>, act: Act) -> StoreFuture<'_, ()>;
    /// Uses a link up and begins the session `fresh`, whose person is the link's: or the redeemer's, where they are known
    /// elsewhere by the address that was invited.
    fn redeem(
        &self,
        link: TokenDigest,
        redeemer: Redeemer,
        fresh: SignInRow,
        replaces: Option<TokenDigest>,
        act: Act,
    ) -> StoreFuture<'_, Redeemed>;

    /// Counts a try of one, or of two at once, before it is made: how they stand with it. One statement, which all
    /// replicas take turns at. A window that is over begins anew.
    fn count_tries(
        &self,
        trier: TokenDigest,
        other: Option<TokenDigest>,
        window_ms: u64,
        now_unix_ms: u64,
    ) -> StoreFuture<'_, Vec<(TokenDigest, Tries)>>;
    fn forget_tries(&self, trier: TokenDigest) -> StoreFuture<'_, ()>;
    /// Those whose window began before this moment; how many.
    fn forget_tries_before(&self, unix_ms: u64) -> StoreFuture<'_, u64>;
}
