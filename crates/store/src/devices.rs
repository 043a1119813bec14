//! The device authorisation flow: a device, for example a command line, shows a code, and a signed-in person
//! approves or denies it a key.

use database::handle::Database;
use domain::{MemberId, WorkspaceId};

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

#[derive(Clone, Copy)]
pub struct Devices<'a>(pub &'a Database);
