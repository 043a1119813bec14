//! What is looked for in the text of requests and answers, and what happens then.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentCheck {
    pub detect: Detector,
    pub action: CheckAction,
    #[serde(default)]
    pub side: CheckedSide,
    /// Whether text that was masked in the request is restored in the answer.
    #[serde(default)]
    pub restores: bool,
}

/// What a check looks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detector {
    /// API keys by their prefixes, private keys, and tokens that look random.
    Secrets,
    Email,
    Phone,
    Iban,
    Card,
    NationalId,
    /// A regular expression of the customer's.
    Pattern(String),
    /// Words of the customer's, whole and whatever their case.
    Words(Vec<String>),
}

crate::words! {
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum CheckAction {
        Flag = "flag",
        Mask = "mask",
        Block = "block",
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckedSide {
    #[default]
    Input,
    Output,
    Both,
}

/// How often a check matched in a request or its answer; never what it matched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckCount {
    /// The name of its detector.
    pub check: Cow<'static, str>,
    pub action: CheckAction,
    /// In the request; otherwise in the answer.
    pub is_input: bool,
    pub count: u64,
}

impl Detector {
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Secrets => "secrets",
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Iban => "iban",
            Self::Card => "card",
            Self::NationalId => "national_id",
            Self::Pattern(_) => "pattern",
            Self::Words(_) => "words",
        }
    }
}

impl CheckedSide {
    pub const fn covers_input(self) -> bool {
        matches!(self, Self::Input | Self::Both)
    }

    pub const fn covers_output(self) -> bool {
        matches!(self, Self::Output | Self::Both)
    }
}

impl ContentCheck {
    /// Whether it changes or refuses what it is applied to, so that what can't be read must not pass.
    pub const fn is_enforced(&self) -> bool {
        matches!(self.action, CheckAction::Mask | CheckAction::Block)
    }
}
