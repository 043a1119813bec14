//! The vault's errors, which contain no byte of what it protects.

use domain::ports::KeyWrapError;

domain::words! {
    /// Why a sealed secret was not opened. Audit entries and metrics have its words.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
    pub enum OpenError {
        /// The workspace's key is not in the ring.
        #[error("the key that sealed this secret is not known to this process")]
        KeyUnknown = "key_unknown",
        /// The bytes are not what was sealed for this workspace, object, version and key.
        #[error("the sealed secret can't be opened: it was changed, or it belongs to something else")]
        Refused = "refused",
        /// The secret is older than its anti-rollback record allows.
        #[error("the sealed secret is older than the one in force: an old row was restored")]
        RolledBack = "rolled_back",
        /// Without its anti-rollback record a secret's age can't be determined.
        #[error("the record of the lowest acceptable version is missing")]
        FloorMissing = "floor_missing",
    }
}

#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error(
        "this master key ({given}) did not seal this data; it was sealed under {wanted}. Give the right key in \
         master.key, TIDEGATE_MASTER_KEY or TIDEGATE_MASTER_KEY_COMMAND"
    )]
    WrongMasterKey { given: String, wanted: String },
    #[error("the vault's record {0} is missing from the store; restore a backup")]
    RecordMissing(&'static str),
    #[error("the vault's pepper can't be opened, though the master key is right; restore a backup")]
    PepperBroken,
    #[error("the workspace has no sealing key in this process")]
    NoWorkspaceKey,
    #[error("the cryptographic library refused an operation")]
    Crypto,
    #[error("the key service did not answer")]
    KeyService(#[from] KeyWrapError),
    #[error("the master keys can't be read")]
    MasterKeys(#[from] crate::MasterKeyError),
}
