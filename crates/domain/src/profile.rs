//! Who serves a request: the execution profile, its billing mode, and the principal that an attempt
//! authenticates as.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::{AccountId, CredentialId, IdError, KeyId, NodeId, PolicyId, SubscriptionId, WebhookId};

/// The execution profile, also the value of the `Agent-Execution-Profile` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Profile {
    Byok,
    Byoc,
    ManagedProvider,
    /// A vendor's subscription of the workspace's own. Off unless the operator switches it on.
    Subscription,
}

impl Profile {
    pub const ALL: [Self; 4] = [Self::ManagedProvider, Self::Byok, Self::Subscription, Self::Byoc];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Byok => "byok",
            Self::Byoc => "byoc",
            Self::ManagedProvider => "managed_provider",
            Self::Subscription => "subscription",
        }
    }

    pub const fn mode(self) -> Mode {
        match self {
            Self::ManagedProvider => Mode::Mi,
            Self::Byok | Self::Subscription => Mode::Byok,
            Self::Byoc => Mode::Byoc,
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Profile {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "byok" => Ok(Self::Byok),
            "byoc" => Ok(Self::Byoc),
            // The word of people for it.
            "managed_provider" | "managed" => Ok(Self::ManagedProvider),
            "subscription" => Ok(Self::Subscription),
            _ => Err(format!("\"{text}\" is not a profile; it is one of byok, byoc, managed, subscription")),
        }
    }
}

crate::words! {
    /// The row of the billing snapshot that a profile is counted in.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub enum Mode {
        Mi = "mi",
        Byok = "byok",
        Byoc = "byoc",
    }
}

/// The credential, account or node that an attempt authenticates as upstream. The profile is derived from it,
/// so the two can't disagree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Principal {
    Credential(CredentialId),
    Account(AccountId),
    Node(NodeId),
    Subscription(SubscriptionId),
}

impl Principal {
    pub const fn profile(self) -> Profile {
        match self {
            Self::Credential(_) => Profile::Byok,
            Self::Account(_) => Profile::ManagedProvider,
            Self::Node(_) => Profile::Byoc,
            Self::Subscription(_) => Profile::Subscription,
        }
    }

    /// The credential of the workspace's own that it is, under BYOK or of a subscription.
    pub const fn own_credential(self) -> Option<CredentialId> {
        match self {
            Self::Credential(id) => Some(id),
            Self::Subscription(id) => Some(CredentialId::from_uuid(*id.as_uuid())),
            Self::Account(_) | Self::Node(_) => None,
        }
    }
}

impl FromStr for Principal {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        text.parse()
            .map(Self::Credential)
            .or_else(|_| text.parse().map(Self::Account))
            .or_else(|_| text.parse().map(Self::Node))
            .or_else(|_| text.parse().map(Self::Subscription))
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credential(id) => id.fmt(f),
            Self::Account(id) => id.fmt(f),
            Self::Node(id) => id.fmt(f),
            Self::Subscription(id) => id.fmt(f),
        }
    }
}

/// Whose sealed secret is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SecretOwner {
    Principal(Principal),
    /// What signs deliveries.
    Webhook(WebhookId),
    /// What signs calls of the policy's hooks.
    Policy(PolicyId),
    /// What requests are signed with under an API key's access key.
    AccessKey(KeyId),
}

impl SecretOwner {
    /// The word for it in the counts of openings; empty for what requests are sent with, whose tables tell.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Principal(_) => "",
            Self::Webhook(_) => "webhook",
            Self::Policy(_) => "hook",
            Self::AccessKey(_) => "access_secret",
        }
    }
}

impl From<Principal> for SecretOwner {
    fn from(principal: Principal) -> Self {
        Self::Principal(principal)
    }
}

/// Reads the name that a secret is sealed under; a webhook's is followed by its generation.
impl FromStr for SecretOwner {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let of_webhook = text.split_once('/').map_or(text, |(id, _)| id);
        text.parse()
            .map(Self::Principal)
            .or_else(|_| text.parse().map(Self::AccessKey))
            .or_else(|_| text.parse().map(Self::Policy))
            .or_else(|_| of_webhook.parse().map(Self::Webhook))
    }
}
