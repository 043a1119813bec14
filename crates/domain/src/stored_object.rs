//! Objects that providers store for a project, other than responses: files, batches, videos and cached
//! prompts. Clients know each by an id of ours.

use std::fmt::{self, Write};
use std::str::FromStr;

use crate::dialect::{BATCHES, CACHED_CONTENTS, Dialect, FILES, STORED_OBJECTS, VIDEOS};
use crate::ids::{ProjectId, TraceId, WorkspaceId};
use crate::operation::Operation;
use crate::profile::Principal;

/// What a stored object is, in whichever dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoredKind {
    File,
    Batch,
    Video,
    /// A prompt that is cached until it expires.
    CachedContent,
}

/// One row of the table of types.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct StoredObjectType {
    pub dialect: Dialect,
    pub kind: StoredKind,
    pub name: &'static str,
    pub prefix: &'static str,
    /// Clients accept only ids of a form that holds no more than sixty bits.
    pub has_short_ids: bool,
}

/// The type of a stored object: its kind, and the dialect whose object it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct StoredObjectKind(&'static StoredObjectType);

/// The digits of short ids: five bits each.
const SHORT_DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const SHORT_LENGTH: u32 = 12;
const SHORT_BITS: u32 = 5;

impl StoredKind {
    /// The kind of object that an operation is about; `None` if it is not about a stored object.
    pub const fn of(operation: Operation) -> Option<Self> {
        match operation {
            Operation::File => Some(Self::File),
            Operation::Batch => Some(Self::Batch),
            Operation::Video => Some(Self::Video),
            Operation::CachedContent => Some(Self::CachedContent),
            _ => None,
        }
    }

    /// The operation that makes and reads such objects.
    pub const fn operation(self) -> Operation {
        match self {
            Self::File => Operation::File,
            Self::Batch => Operation::Batch,
            Self::Video => Operation::Video,
            Self::CachedContent => Operation::CachedContent,
        }
    }
}

impl StoredObjectKind {
    /// A file of OpenAI's API, in which batches of that API have their requests and results.
    pub const FILE: Self = Self(&FILES);
    /// A batch of OpenAI's API.
    pub const BATCH: Self = Self(&BATCHES);
    /// A video of OpenAI's API.
    pub const VIDEO: Self = Self(&VIDEOS);
    /// A prompt that is cached by name, in Gemini's API, which alone has them.
    pub const CACHED_CONTENT: Self = Self(&CACHED_CONTENTS);

    pub fn all() -> impl Iterator<Item = Self> {
        STORED_OBJECTS.into_iter().map(Self)
    }

    /// The dialect's own objects of a kind, or those of OpenAI's API where it has none.
    pub fn of(dialect: Dialect, kind: StoredKind) -> Self {
        let own = Self::all().find(|own| own.dialect() == dialect && own.kind() == kind);
        own.unwrap_or(match kind {
            StoredKind::File => Self::FILE,
            StoredKind::Batch => Self::BATCH,
            StoredKind::Video => Self::VIDEO,
            StoredKind::CachedContent => Self::CACHED_CONTENT,
        })
    }

    /// The dialect whose object it is.
    pub const fn dialect(self) -> Dialect {
        self.0.dialect
    }

    pub const fn kind(self) -> StoredKind {
        self.0.kind
    }

    pub const fn as_str(self) -> &'static str {
        self.0.name
    }

    /// The kind of this name, as `as_str` writes it.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::all().find(|kind| kind.as_str() == name)
    }

    /// The prefix of our ids of this type.
    pub const fn prefix(self) -> &'static str {
        self.0.prefix
    }

    const fn is_short(self) -> bool {
        self.0.has_short_ids
    }
}

impl fmt::Debug for StoredObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Our id for the object: a keyed hash of its owner, its maker and the provider's id. Whichever replica sees
/// the object first derives the same id, nobody can guess it, and it reveals nothing about the provider's.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct StoredObjectId {
    pub kind: StoredObjectKind,
    pub digest: [u8; 16],
}

impl StoredObjectId {
    /// The id made from a hash; from its last sixty bits where the form has no space for all of it.
    pub const fn of(kind: StoredObjectKind, hash: [u8; 16]) -> Self {
        let kept = u128::from_be_bytes(hash) & ((1 << (SHORT_LENGTH * SHORT_BITS)) - 1);
        let digest = if kind.is_short() { kept.to_be_bytes() } else { hash };
        Self { kind, digest }
    }

    fn read_short(kind: StoredObjectKind, digits: &str) -> Option<Self> {
        if digits.len() != SHORT_LENGTH as usize {
            return None;
        }
        let value = |digit: u8| SHORT_DIGITS.iter().position(|own| *own == digit);
        let number = digits.bytes().try_fold(0, |number: u128, digit| {
            Some((number << SHORT_BITS) | u128::try_from(value(digit)?).ok()?)
        })?;
        Some(Self { kind, digest: number.to_be_bytes() })
    }
}

impl fmt::Display for StoredObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.prefix())?;
        if self.kind.is_short() {
            let number = u128::from_be_bytes(self.digest);
            let digits = (0..SHORT_LENGTH).rev().map(|index| (number >> (index * SHORT_BITS)) & 31);
            let mut digits = digits.filter_map(|digit| SHORT_DIGITS.get(usize::try_from(digit).ok()?));
            return digits.try_for_each(|digit| f.write_char(char::from(*digit)));
        }
        self.digest.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for StoredObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not one of our ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoKeptId;

impl FromStr for StoredObjectId {
    type Err = NoKeptId;

    fn from_str(text: &str) -> Result<Self, NoKeptId> {
        let of_kind = |kind: StoredObjectKind| Some((kind, text.strip_prefix(kind.prefix())?));
        let (kind, hex) = StoredObjectKind::all().find_map(of_kind).ok_or(NoKeptId)?;
        if kind.is_short() {
            return Self::read_short(kind, hex).ok_or(NoKeptId);
        }
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if hex.len() != 32 || !hex.bytes().all(is_hex) {
            return Err(NoKeptId);
        }
        let number = u128::from_str_radix(hex, 16).map_err(|_| NoKeptId)?;
        Ok(Self { kind, digest: number.to_be_bytes() })
    }
}

/// The workspace and project that own an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ObjectOwner {
    pub workspace: WorkspaceId,
    pub project: ProjectId,
}

/// Which credential or account created an object, and its metadata. Never its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredObject {
    /// The request that created it, or the first that referred to it.
    pub request: TraceId,
    /// The credential or account that created it: no other one knows it at the provider.
    pub created_by: Principal,
    /// The provider's id for it.
    pub provider_id: String,
    /// The resolved model and the provider's name for it; empty if the object has no model.
    pub model: String,
    pub upstream_model: String,
    /// The attribute that lists can be filtered by, such as a file's purpose.
    pub label: String,
    /// The object as lists show it, with our ids; empty until a response has shown it.
    pub list_entry: String,
    /// Its usage has been booked; of a file on an account, that of each batch whose results it may have.
    pub is_booked: bool,
    pub created_unix_ms: u64,
    /// When its provider deletes it, if known.
    pub until_unix_ms: Option<u64>,
}

/// The result of looking up an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundObject {
    Known(Box<StoredObject>),
    Unknown,
    /// Unknown, because the store does not answer.
    StoreUnavailable,
}

/// The credential or account that stores the files and cached prompts that a conversation names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesKeeper {
    pub principal: Principal,
    /// Where in the request the first of them is named.
    pub place: String,
}

/// One page of a project's objects, and how to select it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectListQuery {
    pub owner: ObjectOwner,
    pub kind: StoredObjectKind,
    pub label: Option<String>,
    /// The last id of the previous page.
    pub after: Option<StoredObjectId>,
    pub oldest_first: bool,
    pub limit: u32,
}
