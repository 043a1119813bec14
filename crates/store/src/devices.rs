//! Devices that ask for a key, such as a command line: one shows a code, a signed-in person says yes or no.

use domain::{KeyId, MemberId, Role, WorkspaceId};

use crate::sign_ins::TokenDigest;
use crate::{Act, ApiKeyRow, StoreFuture, Written};

#[derive(Clone, PartialEq, Eq)]
pub struct DeviceRow {
    pub digest: TokenDigest,
    /// The keyed hash of what a person types.
    pub user_code: TokenDigest,
    pub client_name: String,
    pub address: String,
    pub answer: Option<DeviceAnswer>,
    pub polled_unix_ms: Option<u64>,
    pub created_unix_ms: u64,
    pub expires_unix_ms: u64,
}

impl std::fmt::Debug for DeviceRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeviceRow").field("answer", &self.answer).finish_non_exhaustive()
    }
}

/// What a person said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceAnswer {
    Denied,
    Approved { person: MemberId, workspace: WorkspaceId },
}

pub trait Devices: Send + Sync {
    /// Forgets what is too old first; refused as `too_many_devices` where as many wait as may.
    fn ask(&self, device: DeviceRow, waiting_max: u32) -> StoreFuture<'_, ()>;
    /// The device behind a code that nobody has answered.
    fn waiting(&self, user_code: TokenDigest, unix_ms: u64) -> StoreFuture<'_, Option<DeviceRow>>;
    fn answer(
        &self,
        user_code: TokenDigest,
        answer: DeviceAnswer,
        workspace: WorkspaceId,
        act: Act,
    ) -> StoreFuture<'_, DeviceRow>;
    /// The device as it was, and keeps when it asked.
    fn poll(&self, digest: TokenDigest, unix_ms: u64) -> StoreFuture<'_, Option<DeviceRow>>;
    /// Uses an approval up for a key, while who gave it still has this role there.
    fn grant(
        &self,
        digest: TokenDigest,
        role: Role,
        key: ApiKeyRow,
        act: Act,
    ) -> StoreFuture<'_, Written<ApiKeyRow>>;
    /// Revokes a key that a device was given; `false` where it is another kind of key.
    fn give_back(&self, workspace: WorkspaceId, key: KeyId, act: Act) -> StoreFuture<'_, Written<bool>>;
}
