//! Secrets in memory: wiped on drop, never printed, never compared.

use std::fmt;

use zeroize::Zeroizing;

/// Plaintext that must not outlive its use. `Debug` shows its length only.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    pub fn from_text(text: String) -> Self {
        Self::new(text.into_bytes())
    }

    /// The only access to the plaintext: every call is a place to review.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The plaintext as a string, if it is UTF-8.
    pub fn expose_text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

/// An encrypted secret: written by the vault, and readable only by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The secret's generation, bound into the encryption so that an older row can't be restored.
    pub version: u32,
    /// The workspace key that encrypted it.
    pub key_id: String,
    /// Nonce, ciphertext and tag.
    pub bytes: Vec<u8>,
}

/// Kinds of content that are stored encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentKind {
    /// An answer stored under an idempotency key.
    Answer,
    /// The state of a turn that a provider must be sent again.
    Turn,
    /// An artifact, or an event of a session.
    State,
    /// A request of a batch that the gateway works through, or its result.
    Batch,
    /// A part of the archive of a data export.
    Export,
    /// A request with its answer, where a project keeps them.
    Request,
    /// The request of a task, or its result.
    Task,
    /// The key of a file's content, and what is known of the file.
    File,
    /// The headers with which a tool of a project is called.
    Tool,
    /// What a run of a flow was given, what its steps made, or its document.
    Flow,
}

impl ContentKind {
    pub const ALL: [Self; 10] = [
        Self::Answer,
        Self::Turn,
        Self::State,
        Self::Batch,
        Self::Export,
        Self::Request,
        Self::Task,
        Self::File,
        Self::Tool,
        Self::Flow,
    ];
}
