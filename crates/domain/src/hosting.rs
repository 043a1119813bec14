//! A customer's settings for an account at a cloud, beyond its address: clouds run models under deployment
//! names and versions that their customers choose.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::{Deserialize, Deserializer};

use crate::AuthKind;

/// The part of a credential's or account's `config` that providers read; other members of the `config` are
/// ignored.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Hosting {
    /// Deployment names by public model name, with or without the publisher.
    pub deployments: BTreeMap<String, String>,
    /// The cloud's API version; the current one if unset.
    pub api_version: Option<String>,
    /// The name of the customer's own resource: the first label of its host name.
    pub resource: Option<String>,
    pub project: Option<String>,
    /// Where the cloud serves from; the credential's region if unset.
    pub location: Option<String>,
    /// The project whose quota requests count against, if it is not the project that is called.
    pub quota_project: Option<String>,
    /// The directory (tenant) that an application is registered in, and the application's id there.
    pub tenant_id: Option<String>,
    pub client_id: Option<String>,
    /// Where the cloud exchanges secrets for tokens, if not at its usual address.
    pub token_url: Option<String>,
    /// The base URL of the provider's queue; requests are answered synchronously without it.
    pub queue_url: Option<String>,
    pub role_arn: Option<String>,
    pub external_id: Option<String>,
    /// The session name that the cloud's audit log shows for whoever assumed the role.
    pub session_name: Option<String>,
    /// The file on this machine that holds the federated token.
    pub token_file: Option<String>,
    /// Where batches may read their requests and write their results: a bucket and a key prefix.
    pub batch_storage: Option<String>,
    /// The only role that batches may assume there.
    pub batch_role: Option<String>,
    /// The workspaces of an account may use the provider's own batches: what these use is known only when they have ended.
    #[serde(deserialize_with = "read_flag")]
    pub shared_batches: bool,
    /// The address of the storage service, if not the cloud's usual one.
    pub storage_url: Option<String>,
    /// Not part of the `config`: the region of the credential or account.
    #[serde(skip)]
    pub region: Option<String>,
    /// Not part of the `config`: the kind of secret.
    #[serde(skip)]
    pub auth: AuthKind,
}

/// The hosting of an account without any settings.
pub static PLAIN: LazyLock<Hosting> = LazyLock::new(Hosting::default);

/// Reads one field.
type Read = fn(&Hosting) -> Option<&str>;

/// The fields of a `config` that hold a single word or id.
const WORDS: [(&str, Read); 12] = [
    ("resource", |hosting| hosting.resource.as_deref()),
    ("project", |hosting| hosting.project.as_deref()),
    ("location", Hosting::location_or_region),
    ("quota_project", |hosting| hosting.quota_project.as_deref()),
    ("tenant_id", |hosting| hosting.tenant_id.as_deref()),
    ("client_id", |hosting| hosting.client_id.as_deref()),
    ("role_arn", |hosting| hosting.role_arn.as_deref()),
    ("external_id", |hosting| hosting.external_id.as_deref()),
    ("session_name", |hosting| hosting.session_name.as_deref()),
    ("token_file", |hosting| hosting.token_file.as_deref()),
    ("batch_storage", |hosting| hosting.batch_storage.as_deref()),
    ("batch_role", |hosting| hosting.batch_role.as_deref()),
];

/// A location in a cloud's object storage: a bucket and a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoragePlace<'a> {
    pub bucket: &'a str,
    /// Without leading or trailing slashes; empty for the whole bucket.
    pub key: &'a str,
}

impl<'a> StoragePlace<'a> {
    /// Reads `s3://bucket/name`. A key that would traverse upwards if it were read as a path is rejected.
    pub fn read(uri: &'a str) -> Option<Self> {
        let (bucket, key) =
            uri.strip_prefix("s3://").map(|rest| rest.split_once('/').unwrap_or((rest, "")))?;
        let key = key.strip_suffix('/').unwrap_or(key);
        let is_end = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let ends = [bucket.bytes().next(), bucket.bytes().next_back()];
        let is_bucket = (3..=63).contains(&bucket.len())
            && bucket.bytes().all(|byte| is_end(byte) || matches!(byte, b'-' | b'.'))
            && ends.into_iter().flatten().all(is_end);
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-!_*'().".contains(&byte);
        let is_part = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(is_plain);
        let is_key = key.is_empty() || key.split('/').all(is_part);
        (is_bucket && is_key).then_some(Self { bucket, key })
    }

    /// Whether `other` is this location or below it.
    pub fn holds(&self, other: &StoragePlace<'_>) -> bool {
        let below = other.key.strip_prefix(self.key);
        let is_below =
            below.is_some_and(|rest| self.key.is_empty() || rest.is_empty() || rest.starts_with('/'));
        self.bucket == other.bucket && is_below
    }
}

/// Where a batch's requests and results are stored, and the role that may access them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BatchPlaces {
    pub input: String,
    pub output: String,
    pub role: String,
}

impl BatchPlaces {
    /// The paths of these fields in a request.
    pub const INPUT: &'static str = "inputDataConfig.s3InputDataConfig.s3Uri";
    pub const OUTPUT: &'static str = "outputDataConfig.s3OutputDataConfig.s3Uri";
    pub const ROLE: &'static str = "roleArn";
}

/// A switch, which the command line writes as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Flag {
    Switch(bool),
    Text(String),
}

fn read_flag<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    Ok(match Flag::deserialize(from)? {
        Flag::Switch(is_on) => is_on,
        Flag::Text(text) => text == "true",
    })
}

/// Whether the field of this name holds a single word or id.
pub fn is_word(field: &str) -> bool {
    WORDS.iter().any(|(name, _)| *name == field)
}

impl Hosting {
    /// The deployment name for the first of a model's names that has one.
    pub fn deployment(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.deployments.get(*name)).map(String::as_str)
    }

    /// The configured location, or else the region.
    pub fn location_or_region(&self) -> Option<&str> {
        self.location.as_deref().or(self.region.as_deref())
    }

    /// The value of a field that holds a single word or id, or the region.
    pub fn word(&self, field: &str) -> Option<&str> {
        match WORDS.iter().find(|(name, _)| *name == field) {
            Some((_, read)) => read(self),
            None if field == "region" => self.region.as_deref(),
            None => None,
        }
    }
}
