//! People and their memberships: who may sign in, and where as what.

use domain::{MemberId, Role, WorkspaceId};

use crate::sign_ins::{LinkRow, SignInRow, TokenDigest};
use crate::{Act, Listed, Page, StoreFuture, Written};

#[derive(Clone, PartialEq, Eq)]
pub struct PersonRow {
    pub id: MemberId,
    /// In lower case. Nothing proves that it is theirs, so others may have the same.
    pub email: String,
    pub name: String,
    pub password_hash: Option<String>,
    pub created_unix_ms: u64,
    /// Ignored on writing.
    pub version: u64,
}

impl std::fmt::Debug for PersonRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PersonRow")
            .field("id", &self.id)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// A person as one workspace sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberRow {
    pub person: PersonRow,
    pub workspace: WorkspaceId,
    pub role: Role,
    /// `None` for an invitation that waits.
    pub accepted_unix_ms: Option<u64>,
    pub created_unix_ms: u64,
    /// Of the person's last change or the membership's, whichever came later.
    pub version: u64,
}

/// A workspace as one of its members sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    pub workspace: WorkspaceId,
    pub name: String,
    pub role: Role,
}

/// A person who is to become a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    pub workspace: WorkspaceId,
    pub role: Role,
    /// Who is made, unless they are there already.
    pub person: PersonRow,
    /// Set where there is nothing to accept: the founder of a workspace.
    pub accepted_unix_ms: Option<u64>,
    /// Its `person` and `workspace` are the store's to fill in.
    pub link: Option<(TokenDigest, u64)>,
}

/// What becomes of the API keys that a member made, once they leave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MadeKeys {
    /// Whoever removes them is asked first, where there are some that work: `member_has_keys`.
    #[default]
    Ask,
    /// They are the workspace's.
    Keep,
    Revoke,
}

pub trait People: Send + Sync {
    /// Whoever signs in with it, oldest first, up to a bound.
    fn by_email(&self, email: String) -> StoreFuture<'_, Vec<PersonRow>>;
    /// What they have accepted, oldest first.
    fn memberships(&self, person: MemberId) -> StoreFuture<'_, Vec<Membership>>;
    fn list(
        &self,
        workspace: WorkspaceId,
        page: Page<MemberId>,
    ) -> StoreFuture<'_, Listed<MemberRow, MemberId>>;
    fn get(&self, workspace: WorkspaceId, id: MemberId) -> StoreFuture<'_, MemberRow>;
    /// A second invitation of the same email is refused as `already_member`. Who has it in other workspaces is nobody's to
    /// see: the person that is made is this workspace's own until somebody joins by the link.
    fn invite(&self, invitation: Invitation, act: Act) -> StoreFuture<'_, Written<MemberRow>>;
    /// The workspace's last owner stays one: `last_owner`. The keys of their devices end.
    fn set_role(
        &self,
        workspace: WorkspaceId,
        id: MemberId,
        role: Role,
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, Written<MemberRow>>;
    /// The last owner stays. The keys of their devices end; who belongs to no other workspace is forgotten, with
    /// their sessions.
    fn remove(
        &self,
        workspace: WorkspaceId,
        id: MemberId,
        keys: MadeKeys,
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, Written<()>>;
    /// Writes name and email; `email_taken` where another member of a workspace of theirs has it. `workspace` is where the
    /// audit tells it.
    fn rename(
        &self,
        person: PersonRow,
        workspace: WorkspaceId,
        act: Act,
    ) -> StoreFuture<'_, Written<PersonRow>>;
    /// Ends every session and link of theirs, and begins `fresh`.
    fn set_password(
        &self,
        hash: String,
        fresh: SignInRow,
        workspace: WorkspaceId,
        act: Act,
    ) -> StoreFuture<'_, Written<()>>;
    /// `workspace` is where the audit tells it.
    fn add_link(&self, link: LinkRow, workspace: WorkspaceId, act: Act) -> StoreFuture<'_, ()>;
}
