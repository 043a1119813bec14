//! What a cloud's customer says of their own account beside its address: clouds run models under names and versions
//! that their customers choose.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::AuthKind;

/// Out of a credential's or an account's `config`; what else stands there is its owner's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Hosting {
    /// The names that models have there, by the names that everybody knows: full, or without their publisher.
    pub deployments: BTreeMap<String, String>,
    /// The version of the cloud's interface that is asked for; the current one without.
    pub api_version: Option<String>,
    /// The name of the customer's own resource, which its address begins with.
    pub resource: Option<String>,
    pub project: Option<String>,
    /// Where the cloud serves; the region of the credential where it says nothing.
    pub location: Option<String>,
    /// Whose requests count against whose quota, where it is another project than the one that is asked.
    pub quota_project: Option<String>,
    /// The directory in which an application is known, and its id there.
    pub tenant_id: Option<String>,
    pub client_id: Option<String>,
    /// Where the cloud exchanges secrets for tokens, where that is another address than its usual one.
    pub token_url: Option<String>,
    /// Where requests are put into the provider's queue; without it they are answered at once.
    pub queue_url: Option<String>,
    pub role_arn: Option<String>,
    pub external_id: Option<String>,
    /// What the cloud's own records call who takes on the role.
    pub session_name: Option<String>,
    /// The machine's file with the token that something else vouches with.
    pub token_file: Option<String>,
    /// Where batches may read their requests and leave their results: a bucket, and what all names in it begin with.
    pub batch_storage: Option<String>,
    /// The only role that batches may take on there.
    pub batch_role: Option<String>,
    /// Where the storage is asked, where that is another address than the cloud's usual one.
    pub storage_url: Option<String>,
    /// What stands beside the `config`: the region of the credential or account.
    #[serde(skip)]
    pub region: Option<String>,
    /// What stands beside the `config`: what kind of secret there is.
    #[serde(skip)]
    pub auth: AuthKind,
}

/// What is said of an account that says nothing.
pub static PLAIN: LazyLock<Hosting> = LazyLock::new(Hosting::default);

/// Reads one field.
type Read = fn(&Hosting) -> Option<&str>;

/// The fields of a `config` that are one word or id.
const WORDS: [(&str, Read); 12] = [
    ("resource", |said| said.resource.as_deref()),
    ("project", |said| said.project.as_deref()),
    ("location", Hosting::place),
    ("quota_project", |said| said.quota_project.as_deref()),
    ("tenant_id", |said| said.tenant_id.as_deref()),
    ("client_id", |said| said.client_id.as_deref()),
    ("role_arn", |said| said.role_arn.as_deref()),
    ("external_id", |said| said.external_id.as_deref()),
    ("session_name", |said| said.session_name.as_deref()),
    ("token_file", |said| said.token_file.as_deref()),
    ("batch_storage", |said| said.batch_storage.as_deref()),
    ("batch_role", |said| said.batch_role.as_deref()),
];

/// A place in a cloud's storage: a bucket, and a name in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoragePlace<'a> {
    pub bucket: &'a str,
    /// Without slashes at its ends; empty for the whole bucket.
    pub key: &'a str,
}

impl<'a> StoragePlace<'a> {
    /// Reads `s3://bucket/name`. What would lead out of where it is, read as a path, is no place.
    #[must_use]
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

    /// Whether the other one is here or below.
    #[must_use]
    pub fn holds(&self, other: &StoragePlace<'_>) -> bool {
        let below = other.key.strip_prefix(self.key);
        let is_below =
            below.is_some_and(|rest| self.key.is_empty() || rest.is_empty() || rest.starts_with('/'));
        self.bucket == other.bucket && is_below
    }
}

/// Where a batch's requests and results lie, and who may reach them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BatchPlaces {
    pub input: String,
    pub output: String,
    pub role: String,
}

impl BatchPlaces {
    /// Where a request says them.
    pub const INPUT: &'static str = "inputDataConfig.s3InputDataConfig.s3Uri";
    pub const OUTPUT: &'static str = "outputDataConfig.s3OutputDataConfig.s3Uri";
    pub const ROLE: &'static str = "roleArn";
}

/// Whether a field of this name is one word or id.
#[must_use]
pub fn is_word(field: &str) -> bool {
    WORDS.iter().any(|(name, _)| *name == field)
}

impl Hosting {
    /// The first of a model's names that is deployed, by its name there.
    #[must_use]
    pub fn deployment(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.deployments.get(*name)).map(String::as_str)
    }

    /// Where it is: the location that it says, else its region.
    #[must_use]
    pub fn place(&self) -> Option<&str> {
        self.location.as_deref().or(self.region.as_deref())
    }

    /// What stands under the name of a field that is one word or id, or the region beside them.
    #[must_use]
    pub fn word(&self, field: &str) -> Option<&str> {
        match WORDS.iter().find(|(name, _)| *name == field) {
            Some((_, read)) => read(self),
            None if field == "region" => self.region.as_deref(),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_name_is_stronger_than_a_bare_one() {
        let named = |full: &str, own: &str| (full.to_owned(), own.to_owned());
        let deployments = BTreeMap::from([named("openai/gpt-4o", "whole"), named("gpt-4o", "bare")]);
        let hosting = Hosting { deployments, ..Hosting::default() };
        assert_eq!(hosting.deployment(&["openai/gpt-4o", "gpt-4o"]), Some("whole"));
        assert_eq!(hosting.deployment(&["other/gpt-4o", "gpt-4o"]), Some("bare"));
        assert_eq!(hosting.deployment(&["openai/gpt-5", "gpt-5"]), None);
        assert_eq!(*PLAIN, Hosting::default());
    }

    #[test]
    fn a_place_in_storage_holds_what_is_below_it_and_nothing_beside() {
        let read = |uri: &'static str| StoragePlace::read(uri);
        let own = read("s3://my-bucket/llm/batches/").unwrap();
        assert_eq!(own, StoragePlace { bucket: "my-bucket", key: "llm/batches" });
        for (uri, is_held) in [
            ("s3://my-bucket/llm/batches", true),
            ("s3://my-bucket/llm/batches/in/a.jsonl", true),
            ("s3://my-bucket/llm/batches2/a.jsonl", false),
            ("s3://my-bucket/llm", false),
            ("s3://my-bucket", false),
            ("s3://my-bucket2/llm/batches/a.jsonl", false),
        ] {
            assert_eq!(own.holds(&read(uri).unwrap()), is_held, "{uri}");
        }
        let whole = read("s3://my-bucket").unwrap();
        assert!(whole.holds(&read("s3://my-bucket/any/thing").unwrap()));
        for wrong in [
            "my-bucket/llm",
            "https://my-bucket/llm",
            "s3://",
            "s3://b/x",
            "s3://My-Bucket/x",
            "s3://-my-bucket/x",
            "s3://my_bucket/x",
            "s3://my-bucket//x",
            "s3://my-bucket/llm/../other",
            "s3://my-bucket/./x",
            "s3://my-bucket/a%2Fb",
            "s3://my-bucket/a b",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_location_is_stronger_than_a_region() {
        let mut hosting = Hosting { region: Some("here".to_owned()), ..Hosting::default() };
        assert_eq!((hosting.place(), hosting.word("location")), (Some("here"), Some("here")));
        hosting.location = Some("there".to_owned());
        assert_eq!((hosting.word("location"), hosting.word("region")), (Some("there"), Some("here")));
        assert_eq!(hosting.word("deployments"), None);
    }
}
