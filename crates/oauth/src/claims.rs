//! What clients keep for the gateway: registrations, codes and refresh tokens say what they are about, under a keyed hash that nobody
//! else can make. So nothing is stored of a client that never comes back.

use api::tokens::{Kind, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::ports::KeyHash;
use domain::{KeyId, MemberId, ProjectId, WorkspaceId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

/// A statement with an end.
pub(crate) trait Claims: Serialize + DeserializeOwned {
    const KIND: Kind;

    fn expires_unix_ms(&self) -> u64;

    fn seal(&self, hasher: &dyn KeyHash) -> String {
        let body = URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default());
        let mac = URL_SAFE_NO_PAD.encode(digest(hasher, Self::KIND, &body));
        format!("{body}.{mac}")
    }

    /// `None` unless it was made here, as this kind, and its time has not come.
    fn open(hasher: &dyn KeyHash, text: &str, now_unix_ms: u64) -> Option<Self> {
        let (body, mac) = text.split_once('.')?;
        let mac = URL_SAFE_NO_PAD.decode(mac).ok()?;
        if !bool::from(digest(hasher, Self::KIND, body).as_slice().ct_eq(&mac)) {
            return None;
        }
        let claims: Self = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).ok()?).ok()?;
        (claims.expires_unix_ms() > now_unix_ms).then_some(claims)
    }
}

/// A client as it registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClientClaims {
    pub name: String,
    pub redirects: Vec<String>,
    pub expires_unix_ms: u64,
}

/// A person's consent, until its client redeems it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CodeClaims {
    /// Of the client's id.
    pub client: String,
    pub client_name: String,
    pub redirect: String,
    /// The S256 challenge of PKCE.
    pub challenge: String,
    pub resource: String,
    /// Redeemed once.
    pub device: String,
    /// The id of the key that it is redeemed for.
    #[serde(with = "text")]
    pub key: KeyId,
    #[serde(with = "text")]
    pub person: MemberId,
    #[serde(with = "text")]
    pub workspace: WorkspaceId,
    #[serde(with = "text")]
    pub project: ProjectId,
    pub expires_unix_ms: u64,
}

/// What renews a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RefreshClaims {
    pub client: String,
    #[serde(with = "text")]
    pub key: KeyId,
    #[serde(with = "text")]
    pub workspace: WorkspaceId,
    /// Of the secret that it replaces: once that is replaced, this token was used before.
    pub generation: String,
    pub expires_unix_ms: u64,
}

impl Claims for ClientClaims {
    const KIND: Kind = Kind::Client;

    fn expires_unix_ms(&self) -> u64 {
        self.expires_unix_ms
    }
}

impl Claims for CodeClaims {
    const KIND: Kind = Kind::Code;

    fn expires_unix_ms(&self) -> u64 {
        self.expires_unix_ms
    }
}

impl Claims for RefreshClaims {
    const KIND: Kind = Kind::Refresh;

    fn expires_unix_ms(&self) -> u64 {
        self.expires_unix_ms
    }
}

/// What a long text is compared by.
pub(crate) fn fingerprint(text: &str) -> String {
    proof::Digest::of(&[text.as_bytes()]).to_string()
}

/// By which refresh tokens name a key's secret.
pub(crate) fn generation(hasher: &dyn KeyHash, key_digest: &[u8; 32]) -> String {
    URL_SAFE_NO_PAD.encode(digest(hasher, Kind::Refresh, &URL_SAFE_NO_PAD.encode(key_digest)))
}

/// Ids as they are written elsewhere.
mod text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub fn serialize<T: Display, S: Serializer>(id: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub fn deserialize<'de, T: FromStr, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|_| de::Error::custom("no id"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Plain;
    impl KeyHash for Plain {
        fn digest(&self, presented: &str) -> [u8; 32] {
            proof::Digest::of(&[b"pepper", presented.as_bytes()]).0
        }
    }

    fn client() -> ClientClaims {
        ClientClaims {
            name: "a".to_owned(),
            redirects: vec!["https://a.example/".to_owned()],
            expires_unix_ms: 10,
        }
    }

    #[test]
    fn claims_are_read_as_what_they_are_and_in_time() {
        let sealed = client().seal(&Plain);
        assert_eq!(ClientClaims::open(&Plain, &sealed, 9), Some(client()));
        assert_eq!(ClientClaims::open(&Plain, &sealed, 10), None);
        assert_eq!(RefreshClaims::open(&Plain, &sealed, 9), None, "another kind");
        let (body, mac) = sealed.split_once('.').unwrap();
        let forged = URL_SAFE_NO_PAD.encode(r#"{"name":"b","redirects":[],"expires_unix_ms":10}"#);
        for wrong in
            [format!("{forged}.{mac}"), format!("{body}."), body.to_owned(), String::new(), ".".to_owned()]
        {
            assert_eq!(ClientClaims::open(&Plain, &wrong, 0), None, "{wrong}");
        }
    }

    #[test]
    fn ids_survive() {
        let claims = RefreshClaims {
            client: "c".to_owned(),
            key: KeyId::new(1, [1; 10]),
            workspace: WorkspaceId::new(2, [2; 10]),
            generation: generation(&Plain, &[7; 32]),
            expires_unix_ms: 5,
        };
        assert_eq!(RefreshClaims::open(&Plain, &claims.seal(&Plain), 1), Some(claims));
        assert_ne!(generation(&Plain, &[7; 32]), generation(&Plain, &[8; 32]));
    }
}
