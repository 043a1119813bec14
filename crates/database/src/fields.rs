//! Reads columns by name; every error names the table.

use domain::{
    AccountId, AgentId, AlertRuleId, AliasId, AliasReleaseId, AppId, ArtifactId, AuditId, BranchId, BudgetId,
    BundleId, CacheMode, CachePolicy, CredentialId, DataExportId, DataPlaneId, DiagnosticsId, EndUserId,
    EventId, FileId, FlowId, FlowRunId, HintsId, InvoiceId, JoinTokenId, KeyId, LegalHoldId, McpServerId,
    MemberId, NodeId, PolicyId, ProjectId, PurgeJobId, ReceiptId, ReconciliationId, ReplayRunId,
    ResponseCacheMode, RouteId, ScoreId, Sealed, SecretId, SessionEventId, SessionId, SnapshotId,
    SubscriptionId, TaskId, ToolId, TraceId, WebhookId, WorkspaceId,
};
use proof::Digest;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::StoreError;
use crate::statement::{Column, Columns, Row};

/// Databases have signed integers; a value that doesn't fit saturates, visibly.
pub fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// A value as the JSON text of its column.
pub fn to_text<T: Serialize>(table: &'static str, value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::corrupt(table, error))
}

/// The value of a column of JSON text.
pub fn from_text<'a, T: Deserialize<'a>>(table: &'static str, text: &'a str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::corrupt(table, error))
}

/// An id as the 16 bytes of its column.
pub trait ColumnId: Copy {
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
    AliasId,
    AliasReleaseId,
    AppId,
    ArtifactId,
    AuditId,
    BranchId,
    BudgetId,
    BundleId,
    CredentialId,
    DataExportId,
    DataPlaneId,
    DiagnosticsId,
    EndUserId,
    FileId,
    FlowId,
    FlowRunId,
    EventId,
    HintsId,
    InvoiceId,
    ReconciliationId,
    JoinTokenId,
    KeyId,
    LegalHoldId,
    McpServerId,
    MemberId,
    NodeId,
    PolicyId,
    ProjectId,
    PurgeJobId,
    ReceiptId,
    RouteId,
    ScoreId,
    SecretId,
    SessionEventId,
    SessionId,
    SnapshotId,
    SubscriptionId,
    TaskId,
    ReplayRunId,
    ToolId,
    AgentId,
    AlertRuleId,
    TraceId,
    WebhookId,
    WorkspaceId
);

/// The cursor of a list; without one, a value before the first id.
pub fn after<I: ColumnId>(cursor: Option<I>) -> Vec<u8> {
    cursor.map(|id| id.bytes()).unwrap_or_default()
}

/// The cursor of a list that begins with the newest; without one, a value after the last id.
pub fn before<I: ColumnId>(cursor: Option<I>) -> Vec<u8> {
    cursor.map_or_else(|| vec![0xFF; 17], |id| id.bytes())
}

pub struct Fields<'r, R = Row> {
    table: &'static str,
    row: &'r R,
}

impl<'r, R: Columns> Fields<'r, R> {
    pub const fn new(table: &'static str, row: &'r R) -> Self {
        Self { table, row }
    }

    pub fn get<T: Column<'r>>(&self, name: &'static str) -> Result<T, StoreError> {
        self.row.column(name).map_err(|error| StoreError::corrupt(self.table, error))
    }

    pub fn text(&self, name: &'static str) -> Result<String, StoreError> {
        self.get(name)
    }

    pub fn maybe_text(&self, name: &'static str) -> Result<Option<String>, StoreError> {
        self.get(name)
    }

    pub fn number(&self, name: &'static str) -> Result<u64, StoreError> {
        self.get(name).map(unsigned)
    }

    pub fn maybe_number(&self, name: &'static str) -> Result<Option<u64>, StoreError> {
        self.get::<Option<i64>>(name).map(|value| value.map(unsigned))
    }

    pub fn small(&self, name: &'static str) -> Result<u32, StoreError> {
        let wide = self.number(name)?;
        u32::try_from(wide).map_err(|_| StoreError::corrupt(self.table, format!("{name} is {wide}")))
    }

    pub fn flag(&self, name: &'static str) -> Result<bool, StoreError> {
        self.get::<i64>(name).map(|value| value != 0)
    }

    pub fn id<I: ColumnId>(&self, name: &'static str) -> Result<I, StoreError> {
        self.maybe_id(name)?.ok_or_else(|| StoreError::corrupt(self.table, format!("{name} is missing")))
    }

    pub fn maybe_id<I: ColumnId>(&self, name: &'static str) -> Result<Option<I>, StoreError> {
        let bytes: Option<&[u8]> = self.get(name)?;
        let uuid = bytes.map(Uuid::from_slice).transpose();
        let uuid = uuid.map_err(|error| StoreError::corrupt(self.table, format!("{name}: {error}")))?;
        Ok(uuid.map(I::from_uuid))
    }

    /// A keyed hash.
    pub fn digest(&self, name: &'static str) -> Result<[u8; 32], StoreError> {
        let bytes: &[u8] = self.get(name)?;
        bytes.try_into().map_err(|error| StoreError::corrupt(self.table, format!("{name}: {error}")))
    }

    pub fn json<T: DeserializeOwned>(&self, name: &'static str) -> Result<T, StoreError> {
        from_text(self.table, self.get(name)?)
    }

    pub fn maybe_json<T: DeserializeOwned>(&self, name: &'static str) -> Result<Option<T>, StoreError> {
        self.get::<Option<&str>>(name)?.map(|text| from_text(self.table, text)).transpose()
    }

    /// An unkeyed hash.
    pub fn maybe_hash(&self, name: &'static str) -> Result<Option<Digest>, StoreError> {
        let bytes: Option<&[u8]> = self.get(name)?;
        let read = |bytes: &[u8]| bytes.try_into().map(Digest);
        let hash = bytes.map(read).transpose();
        hash.map_err(|error| StoreError::corrupt(self.table, format!("{name}: {error}")))
    }

    /// The columns `caching_managed`, `caching_byok`, `caching_keep_alive`, `caching_responses`,
    /// `caching_responses_ttl_s`, `caching_is_semantic`, `caching_semantic_model`, `caching_semantic_bps_min` and `caching_generation`.
    pub fn caching(&self) -> Result<CachePolicy, StoreError> {
        let mode = |name: &'static str| {
            let word = self.maybe_text(name)?;
            let read = |word: String| {
                let wrong = || StoreError::corrupt(self.table, format!("{name} is {word}"));
                CacheMode::of(&word).ok_or_else(wrong)
            };
            word.map(read).transpose()
        };
        let responses = match self.maybe_text("caching_responses")? {
            None => None,
            Some(word) => {
                let wrong = || StoreError::corrupt(self.table, format!("caching_responses is {word}"));
                let mode = ResponseCacheMode::of(&word).ok_or_else(wrong)?;
                // Replicas that know no other mode read the column as it is.
                let is_semantic = mode == ResponseCacheMode::Exact && self.flag("caching_is_semantic")?;
                Some(if is_semantic { ResponseCacheMode::Semantic } else { mode })
            }
        };
        let ttl_s: Option<i64> = self.get("caching_responses_ttl_s")?;
        let bps_min: Option<i64> = self.get("caching_semantic_bps_min")?;
        let wrong = |error| StoreError::corrupt(self.table, error);
        Ok(CachePolicy {
            managed: mode("caching_managed")?,
            byok: mode("caching_byok")?,
            keep_alive: self.get::<Option<i64>>("caching_keep_alive")?.map(|value| value != 0),
            responses,
            responses_ttl_s: ttl_s.map(u32::try_from).transpose().map_err(wrong)?,
            semantic_model: self.maybe_text("caching_semantic_model")?.map(Into::into),
            semantic_similarity_bps_min: bps_min.map(u16::try_from).transpose().map_err(wrong)?,
            generation: self.number("caching_generation")?,
        })
    }

    /// The columns `access_secret_version`, `access_secret_key_id` and `access_secret_sealed`, which may be
    /// NULL.
    pub fn maybe_access_secret(&self) -> Result<Option<Sealed>, StoreError> {
        let Some(key_id) = self.maybe_text("access_secret_key_id")? else { return Ok(None) };
        Ok(Some(Sealed {
            version: self.small("access_secret_version")?,
            key_id,
            bytes: self.get("access_secret_sealed")?,
        }))
    }

    /// The columns `secret_version`, `secret_key_id` and `secret_sealed`.
    pub fn sealed(&self) -> Result<Sealed, StoreError> {
        Ok(Sealed {
            version: self.small("sealed_version")?,
            key_id: self.text("sealed_key_id")?,
            bytes: self.get("sealed")?,
        })
    }

    pub fn secret(&self) -> Result<Sealed, StoreError> {
        Ok(Sealed {
            version: self.small("secret_version")?,
            key_id: self.text("secret_key_id")?,
            bytes: self.get("secret_sealed")?,
        })
    }
}
