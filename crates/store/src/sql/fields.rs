//! Reads columns by name; every error names the table.

use domain::{
    AccountId, AuditId, BudgetId, CacheMode, CachePolicy, CredentialId, EventId, InvoiceId, JoinTokenId,
    KeyId, MemberId, NodeId, PolicyId, ProjectId, RouteId, Sealed, TraceId, WebhookId, WorkspaceId,
};
use proof::Digest;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::statement::{Column, Columns, Row};
use super::writing::unsigned;
use crate::{SealedSecret, StoreError, stored};

/// An id as the 16 bytes of its column.
pub(crate) trait ColumnId: Copy {
    fn from_uuid(uuid: Uuid) -> Self;
    fn bytes(&self) -> Vec<u8>;
}

macro_rules! column_ids {
    ($($name:ident),*) => {
        $(impl ColumnId for $name {
            fn from_uuid(uuid: Uuid) -> Self {
                $name::from_uuid(uuid)
            }

            fn bytes(&self) -> Vec<u8> {
                self.as_bytes().to_vec()
            }
        })*
    };
}

column_ids!(
    AccountId,
    AuditId,
    BudgetId,
    CredentialId,
    EventId,
    InvoiceId,
    JoinTokenId,
    KeyId,
    MemberId,
    NodeId,
    PolicyId,
    ProjectId,
    RouteId,
    TraceId,
    WebhookId,
    WorkspaceId
);

/// The cursor of a list; without one, a value before the first id.
pub(crate) fn after<I: ColumnId>(cursor: Option<I>) -> Vec<u8> {
    cursor.map(|id| id.bytes()).unwrap_or_default()
}

pub(crate) struct Fields<'r, R = Row> {
    table: &'static str,
    row: &'r R,
}

impl<'r, R: Columns> Fields<'r, R> {
    pub(crate) const fn new(table: &'static str, row: &'r R) -> Self {
        Self { table, row }
    }

    pub(crate) fn get<T: Column<'r>>(&self, name: &'static str) -> Result<T, StoreError> {
        self.row.column(name).map_err(|error| StoreError::corrupt(self.table, error))
    }

    pub(crate) fn text(&self, name: &'static str) -> Result<String, StoreError> {
        self.get(name)
    }

    pub(crate) fn maybe_text(&self, name: &'static str) -> Result<Option<String>, StoreError> {
        self.get(name)
    }

    pub(crate) fn number(&self, name: &'static str) -> Result<u64, StoreError> {
        self.get(name).map(unsigned)
    }

    pub(crate) fn maybe_number(&self, name: &'static str) -> Result<Option<u64>, StoreError> {
        self.get::<Option<i64>>(name).map(|value| value.map(unsigned))
    }

    pub(crate) fn small(&self, name: &'static str) -> Result<u32, StoreError> {
        let wide = self.number(name)?;
        u32::try_from(wide).map_err(|_| StoreError::corrupt(self.table, format!("{name} is {wide}")))
    }

    pub(crate) fn flag(&self, name: &'static str) -> Result<bool, StoreError> {
        self.get::<i64>(name).map(|value| value != 0)
    }

    pub(crate) fn id<I: ColumnId>(&self, name: &'static str) -> Result<I, StoreError> {
        self.maybe_id(name)?.ok_or_else(|| StoreError::corrupt(self.table, format!("{name} is missing")))
    }

    pub(crate) fn maybe_id<I: ColumnId>(&self, name: &'static str) -> Result<Option<I>, StoreError> {
        let bytes: Option<&[u8]> = self.get(name)?;
        let uuid = bytes.map(Uuid::from_slice).transpose();
        let uuid = uuid.map_err(|error| StoreError::corrupt(self.table, format!("{name}: {error}")))?;
        Ok(uuid.map(I::from_uuid))
    }

    /// A keyed hash.
    pub(crate) fn digest(&self, name: &'static str) -> Result<[u8; 32], StoreError> {
        let bytes: &[u8] = self.get(name)?;
        bytes.try_into().map_err(|error| StoreError::corrupt(self.table, format!("{name}: {error}")))
    }

    pub(crate) fn json<T: DeserializeOwned>(&self, name: &'static str) -> Result<T, StoreError> {
        stored::from_text(self.table, self.get(name)?)
    }

    /// An unkeyed hash.
    pub(crate) fn maybe_hash(&self, name: &'static str) -> Result<Option<Digest>, StoreError> {
        let bytes: Option<&[u8]> = self.get(name)?;
        let read = |bytes: &[u8]| bytes.try_into().map(Digest);
        let hash = bytes.map(read).transpose();
        hash.map_err(|error| StoreError::corrupt(self.table, format!("{name}: {error}")))
    }

    /// The columns `caching_managed` and `caching_byok`.
    pub(crate) fn caching(&self) -> Result<CachePolicy, StoreError> {
        let mode = |name: &'static str| {
            let word = self.maybe_text(name)?;
            let read = |word: String| {
                let wrong = || StoreError::corrupt(self.table, format!("{name} is {word}"));
                CacheMode::of(&word).ok_or_else(wrong)
            };
            word.map(read).transpose()
        };
        Ok(CachePolicy { managed: mode("caching_managed")?, byok: mode("caching_byok")? })
    }

    /// The columns `access_secret_version`, `access_secret_key_id` and `access_secret_sealed`, which may be
    /// NULL.
    pub(crate) fn maybe_access_secret(&self) -> Result<Option<Sealed>, StoreError> {
        let Some(key_id) = self.maybe_text("access_secret_key_id")? else { return Ok(None) };
        Ok(Some(Sealed {
            version: self.small("access_secret_version")?,
            key_id,
            bytes: self.get("access_secret_sealed")?,
        }))
    }

    /// The columns of `sealed` and `fingerprint`. The anti-rollback record is in another table: without it,
    /// nothing opens.
    pub(crate) fn secret(&self) -> Result<SealedSecret, StoreError> {
        let floor = Sealed { version: 0, key_id: String::new(), bytes: Vec::new() };
        Ok(SealedSecret { sealed: self.sealed()?, floor, fingerprint: self.text("fingerprint")? })
    }

    /// The columns `secret_version`, `secret_key_id` and `secret_sealed`.
    pub(crate) fn sealed(&self) -> Result<Sealed, StoreError> {
        Ok(Sealed {
            version: self.small("secret_version")?,
            key_id: self.text("secret_key_id")?,
            bytes: self.get("secret_sealed")?,
        })
    }
}
