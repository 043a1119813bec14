//! People and their memberships: who may sign in, and with which role in which workspace.

use database::act::{Act, Written};
use database::error::StoreFuture;
use domain::{MemberId, Role, WorkspaceId};

use crate::resource::Resource;
use crate::sign_ins::{LinkRow, SignInRow, TokenDigest};

#[derive(Clone, PartialEq, Eq)]
pub struct PersonRow {
    pub id: MemberId,
    /// In lower case. Nothing proves that the address is theirs, so others may have the same one.
    pub email: String,
    pub name: String,
    pub password_hash: Option<String>,
    pub created_unix_ms: u64,
    /// Ignored on writing.
    pub version: u64,
}

domain::brief_debug!(PersonRow, id, version);

/// A person as one workspace sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberRow {
    pub person: PersonRow,
    pub workspace: WorkspaceId,
    pub role: Role,
    /// `None` for a pending invitation.
    pub accepted_unix_ms: Option<u64>,
    pub created_unix_ms: u64,
    /// The later of the person's and the membership's last change.
    pub version: u64,
}

/// A workspace as one of its members sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    pub workspace: WorkspaceId,
    pub name: String,
    pub role: Role,
}

/// A person invited as a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// The person is created unless they exist already. Founders of a workspace have nothing to accept.
    pub member: MemberRow,
    /// The sign-in link: its digest, and when it expires.
    pub link: Option<(TokenDigest, u64)>,
}

/// What happens to the API keys that a member created, once they leave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KeysOnLeave {
    /// Refused as `member_has_keys` if some of them work, so that the remover decides.
    #[default]
    Ask,
    /// They belong to the workspace.
    Keep,
    Revoke,
}

/// Members are resources.
///
/// A second invitation of the same email is refused as `already_member`. Membership in other workspaces is not
/// revealed: the person created here belongs to this workspace alone until someone joins by the link.
///
/// The last owner of a workspace can't lose that role: `last_owner`. When a role changes, the keys of the member's
/// devices are revoked.
pub trait People: Resource<MemberRow> {
    /// Everyone who signs in with this address, oldest first, up to a bound.
    fn by_email(&self, email: String) -> StoreFuture<'_, Vec<PersonRow>>;
    /// The memberships that they have accepted, oldest first.
    fn memberships(&self, person: MemberId) -> StoreFuture<'_, Vec<Membership>>;
    /// Deletes a member, and says what happens to their API keys. The last owner can't be removed. The keys of their devices are revoked; a person without another
    /// workspace is deleted, with their sessions.
    fn remove(
        &self,
        workspace: WorkspaceId,
        id: MemberId,
        keys: KeysOnLeave,
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, Written<()>>;
    /// Writes name and email; `email_taken` if another member of one of their workspaces has it. The audit
    /// entry goes to `workspace`.
    fn rename(
        &self,
        person: PersonRow,
        workspace: WorkspaceId,
        act: Act,
    ) -> StoreFuture<'_, Written<PersonRow>>;
    /// Ends every session and link of the person, and starts `fresh`.
    fn set_password(
        &self,
        hash: String,
        fresh: SignInRow,
        workspace: WorkspaceId,
        act: Act,
    ) -> StoreFuture<'_, Written<()>>;
    /// The audit entry goes to `workspace`.
    fn add_link(&self, link: LinkRow, workspace: WorkspaceId, act: Act) -> StoreFuture<'_, ()>;
}
