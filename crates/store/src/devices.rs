//! The device authorisation flow: a device, for example a command line, shows a code, and a signed-in person
//! approves or denies it a key.

use database::act::{Act, Written};
use database::error::StoreFuture;
use domain::{KeyId, MemberId, Role, WorkspaceId};

use crate::api_keys::ApiKeyRow;
use crate::sign_ins::TokenDigest;

#[derive(Clone, PartialEq, Eq)]
pub struct DeviceRow {
    pub digest: TokenDigest,
    /// The keyed hash of the code that a person types.
    pub user_code: TokenDigest,
    pub client_name: String,
    pub address: String,
    pub answer: Option<DeviceAnswer>,
    pub polled_unix_ms: Option<u64>,
    pub created_unix_ms: u64,
    pub expires_unix_ms: u64,
}

domain::brief_debug!(DeviceRow, answer);

/// The person's decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceAnswer {
    Denied,
    Approved { person: MemberId, workspace: WorkspaceId },
}

pub trait Devices: Send + Sync {
    /// Deletes expired devices first; refused as `too_many_devices` if `waiting_max` are waiting already.
    fn create(&self, device: DeviceRow, waiting_max: u32) -> StoreFuture<'_, ()>;
    /// The device with this user code, if it has neither been answered nor expired.
    fn waiting(&self, user_code: TokenDigest, unix_ms: u64) -> StoreFuture<'_, Option<DeviceRow>>;
    fn answer(
        &self,
        user_code: TokenDigest,
        answer: DeviceAnswer,
        workspace: WorkspaceId,
        act: Act,
    ) -> StoreFuture<'_, DeviceRow>;
    /// Returns the device as it was before this poll, and records the time of the poll.
    fn poll(&self, digest: TokenDigest, unix_ms: u64) -> StoreFuture<'_, Option<DeviceRow>>;
    /// Exchanges an approval for a key, as long as the approver still has this role in the workspace.
    fn grant(
        &self,
        digest: TokenDigest,
        role: Role,
        key: ApiKeyRow,
        act: Act,
    ) -> StoreFuture<'_, Written<ApiKeyRow>>;
    /// Revokes a key that was issued to a device; `false` if it is another kind of key.
    fn revoke_key(&self, workspace: WorkspaceId, key: KeyId, act: Act) -> StoreFuture<'_, Written<bool>>;
}
