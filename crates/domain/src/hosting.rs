//! What a cloud's customer says of their own account beside its address: clouds run models under names and versions
//! that their customers choose.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The names that the fields have in a `config`.
pub const DEPLOYMENTS: &str = "deployments";
pub const API_VERSION: &str = "api_version";

/// Out of a credential's or an account's `config`; what else stands there is its owner's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Hosting {
    /// The names that models have there, by the names that everybody knows: full, or without their publisher.
    pub deployments: BTreeMap<String, String>,
    /// The version of the cloud's interface that is asked for; the current one without.
    pub api_version: Option<String>,
}

/// What is said of an account that says nothing.
pub static PLAIN: Hosting = Hosting { deployments: BTreeMap::new(), api_version: None };

impl Hosting {
    /// The first of a model's names that is deployed, by its name there.
    #[must_use]
    pub fn deployment(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.deployments.get(*name)).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_name_is_stronger_than_a_bare_one() {
        let named = |full: &str, own: &str| (full.to_owned(), own.to_owned());
        let deployments = BTreeMap::from([named("openai/gpt-4o", "whole"), named("gpt-4o", "bare")]);
        let hosting = Hosting { deployments, api_version: None };
        assert_eq!(hosting.deployment(&["openai/gpt-4o", "gpt-4o"]), Some("whole"));
        assert_eq!(hosting.deployment(&["other/gpt-4o", "gpt-4o"]), Some("bare"));
        assert_eq!(hosting.deployment(&["openai/gpt-5", "gpt-5"]), None);
        assert_eq!(PLAIN, Hosting::default());
    }
}
