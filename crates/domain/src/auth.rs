//! The ways in which a credential or account authenticates to its provider.

use serde::Deserialize;

/// The kinds of authentication. The catalogue says which of them a provider accepts and what each needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthKind {
    /// An API key; the secret is the key.
    #[default]
    ApiKey,
    /// A service account; the secret is its JSON key file (Google).
    ServiceAccount,
    /// OAuth client credentials; the secret belongs to an application registered in the cloud's directory
    /// (Entra).
    OauthClient,
    /// The machine's own identity, from the cloud's metadata service; there is no secret.
    ManagedIdentity,
    /// AWS access keys, with a session token if they are temporary.
    IamStatic,
    /// AWS access keys that may assume a role.
    IamRole,
    /// Workload identity federation: the secret is a token from another issuer.
    WorkloadIdentity,
    /// Workload identity federation with the token in a file on this machine, which the operator's platform
    /// renews.
    WorkloadIdentityFile,
    /// A token of a vendor's subscription, sent as it is.
    SubscriptionToken,
    /// An access token of a vendor's subscription, with what renews it.
    SubscriptionOauth,
}

impl AuthKind {
    pub const ALL: [Self; 10] = [
        Self::ApiKey,
        Self::ServiceAccount,
        Self::OauthClient,
        Self::ManagedIdentity,
        Self::IamStatic,
        Self::IamRole,
        Self::WorkloadIdentity,
        Self::WorkloadIdentityFile,
        Self::SubscriptionToken,
        Self::SubscriptionOauth,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::ServiceAccount => "service_account",
            Self::OauthClient => "oauth_client",
            Self::ManagedIdentity => "managed_identity",
            Self::IamStatic => "iam_static",
            Self::IamRole => "iam_role",
            Self::WorkloadIdentity => "workload_identity",
            Self::WorkloadIdentityFile => "workload_identity_file",
            Self::SubscriptionToken => "subscription_token",
            Self::SubscriptionOauth => "subscription_oauth",
        }
    }

    /// Whether the secret signs no request itself but is exchanged for a short-lived token or key pair.
    #[must_use]
    pub const fn is_exchanged(self) -> bool {
        match self {
            Self::ApiKey | Self::IamStatic | Self::SubscriptionToken => false,
            Self::ServiceAccount
            | Self::OauthClient
            | Self::ManagedIdentity
            | Self::IamRole
            | Self::WorkloadIdentity
            | Self::WorkloadIdentityFile
            | Self::SubscriptionOauth => true,
        }
    }

    /// Whether the secret is of a vendor's subscription, which is sent as a bearer token.
    #[must_use]
    pub const fn is_subscription(self) -> bool {
        matches!(self, Self::SubscriptionToken | Self::SubscriptionOauth)
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}
