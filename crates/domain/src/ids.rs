//! Identifiers: a prefix for the type, then a UUIDv7 in hex, so that ids sort by age and can't be guessed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a text is not an id of the expected type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an id of this kind looks like {expected_prefix}_ followed by 32 hexadecimal digits")]
pub struct IdError {
    pub expected_prefix: &'static str,
}

/// A UUIDv7 from a time and ten random bytes; both are arguments so that a simulation replays its ids.
pub fn uuid_from(unix_ms: u64, random: [u8; 10]) -> Uuid {
    uuid::Builder::from_unix_timestamp_millis(unix_ms, &random).into_uuid()
}

const HEX_DIGITS: usize = 32;

fn parse(text: &str, prefix: &'static str) -> Result<Uuid, IdError> {
    let wrong = IdError { expected_prefix: prefix };
    let hex = text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_')).ok_or(wrong.clone())?;
    if hex.len() != HEX_DIGITS || hex.bytes().any(|b| !b.is_ascii_digit() && !(b'a'..=b'f').contains(&b)) {
        return Err(wrong);
    }
    Uuid::try_parse(hex).map_err(|_| wrong)
}

/// The longest prefix, the underscore, and the hex digits.
const TEXT_BYTES: usize = 40;

/// An id's text form, without a heap allocation.
#[derive(Clone, Copy)]
pub struct IdText {
    bytes: [u8; TEXT_BYTES],
    length: usize,
}

impl IdText {
    fn new(prefix: &str, uuid: &Uuid) -> Self {
        let mut text = Self { bytes: [0; TEXT_BYTES], length: 0 };
        let mut digits = [0_u8; 32];
        for part in [prefix, "_", uuid.simple().encode_lower(&mut digits)] {
            let end = text.length + part.len();
            if let Some(room) = text.bytes.get_mut(text.length..end) {
                room.copy_from_slice(part.as_bytes());
                text.length = end;
            }
        }
        text
    }
}

impl std::ops::Deref for IdText {
    type Target = str;

    fn deref(&self) -> &str {
        let bytes = self.bytes.get(..self.length).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl fmt::Display for IdText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

macro_rules! define_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub struct $name(Uuid);

        impl $name {
            pub const PREFIX: &'static str = $prefix;

            /// A new id from the time and randomness of the caller's `world`.
            pub fn new(unix_ms: u64, random: [u8; 10]) -> Self {
                Self(uuid_from(unix_ms, random))
            }

            /// The regular expression that ids of this type match, for API documents.
            pub fn pattern() -> String {
                format!("^{}_[0-9a-f]{{{HEX_DIGITS}}}$", $prefix)
            }

            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            pub const fn as_uuid(&self) -> &Uuid {
                &self.0
            }

            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// When it was made, which it begins with.
            pub const fn unix_ms(&self) -> u64 {
                let [a, b, c, d, e, f, ..] = *self.as_bytes();
                u64::from_be_bytes([0, 0, a, b, c, d, e, f])
            }

            pub fn text(&self) -> IdText {
                IdText::new($prefix, &self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.text())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                parse(text, $prefix).map(Self)
            }
        }
    };
}

define_id!(/** The owner of credentials, nodes and money. */ WorkspaceId, "ws");
define_id!(/** A part of a workspace with an environment and keys of its own. */ ProjectId, "prj");
define_id!(/** An API key of ours. */ KeyId, "key");
define_id!(/** A sealed provider credential of a workspace (BYOK). */ CredentialId, "pcr");
define_id!(/** A sealed token of a vendor's subscription. */ SubscriptionId, "sub");
define_id!(/** One of the operator's pooled provider accounts. */ AccountId, "acc");
define_id!(/** A runtime on the customer's hardware (BYOC). */ NodeId, "node");
define_id!(/** What lets one node in, once. */ JoinTokenId, "jtk");
define_id!(/** A gateway that serves elsewhere what this installation configures. */ DataPlaneId, "dpl");
define_id!(/** A routing rule. */ RouteId, "rte");
define_id!(/** What a project's requests may reach. */ PolicyId, "pol");
define_id!(/** A model name of a workspace's or project's own. */ AliasId, "ali");
define_id!(/** What an alias pointed at, points at or may point at: it never changes. */ AliasReleaseId, "alr");
define_id!(/** Stored hints. */ HintsId, "ah");
define_id!(/** Immutable content of a project: a document, a tool list, a schema. */ ArtifactId, "art");
define_id!(/** An ordered list of artifacts. */ BundleId, "bnd");
define_id!(/** The state of an agent over several requests. */ SessionId, "ses");
define_id!(/** One line of a session's history. */ BranchId, "br");
define_id!(/** One event of a session's history. */ SessionEventId, "evt");
define_id!(/** A branch as it was at one version. */ SnapshotId, "snp");
define_id!(/** One run of an app. */ TaskId, "tsk");
define_id!(/** Steps that a project declares, with what each needs. */ FlowId, "flw");
define_id!(/** One run of a flow. */ FlowRunId, "flr");
define_id!(/** One answer of `/v2/responses`. */ ResponseId, "rsp");
define_id!(/** One audit entry. */ AuditId, "aud");
define_id!(/** A person who may sign in. */ MemberId, "mem");
define_id!(/** Where a workspace is told of events. */ WebhookId, "whk");
define_id!(/** A measure of a workspace's requests that people hear of where it is too high. */ AlertRuleId, "alt");
define_id!(/** One thing that happened: what a receiver knows a repeated delivery by. */ EventId, "evt");
define_id!(/** What a workspace owes for one month. */ InvoiceId, "inv");
define_id!(/** A purge of stored content. */ PurgeJobId, "pjb");
define_id!(/** The signed evidence of a purge. */ ReceiptId, "pur");
define_id!(/** What keeps stored content from being deleted. */ LegalHoldId, "hld");
define_id!(/** A copy of what a workspace owns. */ DataExportId, "exp");
define_id!(/** A file that the gateway keeps. */ FileId, "fil");
define_id!(/** A report on how well a workload is reused. */ DiagnosticsId, "dgn");
define_id!(/** A comparison with what a provider exported. */ ReconciliationId, "rcn");
define_id!(/** A set of stored requests that a candidate is tried with. */ ReplayRunId, "rpl");
define_id!(/** How good the answer of a request was found. */ ScoreId, "scr");
define_id!(/** A function or an HTTP call that a project declares for models. */ ToolId, "tol");
define_id!(/** An HTTP server that a project declares as an app. */ AppId, "app");
define_id!(/** A secret that a project names, for its apps. */ SecretId, "sct");
define_id!(/** A stored definition of an agent. */ AgentId, "agt");
define_id!(/** An MCP server whose tools a project offers to models. */ McpServerId, "mcp");
define_id!(/** A bound on money over a period, or a workspace's credit. */ BudgetId, "bdg");
define_id!(
    /** A request: its trace, its meter record and the id in every answer are this one id. */
    TraceId, "trc"
);

define_id!(/** A client's own user: a keyed hash of the name that requests give, so that records name nobody. */ EndUserId, "eu");

impl EndUserId {
    /// From the keyed hash. Unlike other ids it doesn't begin with a time.
    pub const fn of_hash(hash: u128) -> Self {
        Self(Uuid::from_u128(hash))
    }
}
