//! What a client asks for, and in which wire grammar.

use serde::{Deserialize, Serialize};

/// The client's grammar: it decides how requests are read and how answers and errors are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Dialect {
    /// OpenAI chat completions.
    Chat,
    /// Our own `/v1/run`; its model steps travel as chat.
    Run,
    /// The native `/v2` surface and everything that has no dialect of its own: RFC 9457 problem documents.
    Native,
}

impl Dialect {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Run => "run",
            Self::Native => "native",
        }
    }
}

/// What one trip down the line does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Operation {
    Chat,
    /// A model step of `/v1/run`.
    Run,
    /// The cheapest real call with a credential, account or node, to learn whether it works.
    Verify,
}

impl Operation {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Run => "run",
            Self::Verify => "verify",
        }
    }
}
