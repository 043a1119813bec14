//! How a credential or an account proves to its provider who asks.

use serde::Deserialize;

/// The kinds that a provider can take; which of them it takes, and what each needs, is the catalogue's to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthKind {
    /// The secret is the key.
    #[default]
    ApiKey,
    /// The secret is the JSON file of a service account's key.
    ServiceAccount,
    /// The secret is an application's, which it is known by to the cloud's directory.
    OauthClient,
    /// The machine's own identity: there is no secret.
    ManagedIdentity,
    /// The secret is a pair of access keys, with a session token where they are for a while.
    IamStatic,
    /// Access keys that may take on a role.
    IamRole,
    /// A token that something else vouches with.
    WorkloadIdentity,
    /// The same, out of a file of the machine that whoever runs it writes anew in time.
    WorkloadIdentityFile,
}

impl AuthKind {
    pub const ALL: [Self; 8] = [
        Self::ApiKey,
        Self::ServiceAccount,
        Self::OauthClient,
        Self::ManagedIdentity,
        Self::IamStatic,
        Self::IamRole,
        Self::WorkloadIdentity,
        Self::WorkloadIdentityFile,
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
        }
    }

    /// Whether the secret signs nothing itself, and is exchanged for what does, for a while.
    #[must_use]
    pub const fn is_exchanged(self) -> bool {
        match self {
            Self::ApiKey | Self::IamStatic => false,
            Self::ServiceAccount
            | Self::OauthClient
            | Self::ManagedIdentity
            | Self::IamRole
            | Self::WorkloadIdentity
            | Self::WorkloadIdentityFile => true,
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written() {
        for kind in AuthKind::ALL {
            assert_eq!(AuthKind::from_name(kind.as_str()), Some(kind));
        }
        assert_eq!(AuthKind::from_name("API_KEY"), None);
    }
}
