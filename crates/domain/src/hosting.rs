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
const WORDS: [(&str, Read); 10] = [
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
];

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
    fn a_location_is_stronger_than_a_region() {
        let mut hosting = Hosting { region: Some("here".to_owned()), ..Hosting::default() };
        assert_eq!((hosting.place(), hosting.word("location")), (Some("here"), Some("here")));
        hosting.location = Some("there".to_owned());
        assert_eq!((hosting.word("location"), hosting.word("region")), (Some("there"), Some("here")));
        assert_eq!(hosting.word("deployments"), None);
    }
}
