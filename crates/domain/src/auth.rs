//! The ways in which a credential or account authenticates to its provider.

use serde::Deserialize;

crate::words! {
    /// The kinds of authentication. The catalogue says which of them a provider accepts and what each needs.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum AuthKind by from_name {
        /// An API key; the secret is the key.
        #[default]
        ApiKey = "api_key",
        /// A service account; the secret is its JSON key file (Google).
        ServiceAccount = "service_account",
        /// OAuth client credentials; the secret belongs to an application registered in the cloud's directory
        /// (Entra).
        OauthClient = "oauth_client",
        /// The machine's own identity, from the cloud's metadata service; there is no secret.
        ManagedIdentity = "managed_identity",
        /// AWS access keys, with a session token if they are temporary.
        IamStatic = "iam_static",
        /// AWS access keys that may assume a role.
        IamRole = "iam_role",
        /// Workload identity federation: the secret is a token from another issuer.
        WorkloadIdentity = "workload_identity",
        /// Workload identity federation with the token in a file on this machine, which the operator's platform
        /// renews.
        WorkloadIdentityFile = "workload_identity_file",
        /// A token of a vendor's subscription, sent as it is.
        SubscriptionToken = "subscription_token",
        /// An access token of a vendor's subscription, with what renews it.
        SubscriptionOauth = "subscription_oauth",
    }
}

impl AuthKind {
    /// Whether the secret signs no request itself but is exchanged for a short-lived token or key pair.
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
    pub const fn is_subscription(self) -> bool {
        matches!(self, Self::SubscriptionToken | Self::SubscriptionOauth)
    }
}
