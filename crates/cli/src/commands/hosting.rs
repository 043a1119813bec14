//! Provider-specific settings of a credential or an account, as options of the command line.

use serde_json::{Map, Value, json};

use crate::output::{self, Failure};

/// For providers where each customer has a resource of their own; `kinds` tells which.
#[derive(Debug, clap::Args)]
pub struct Hosting {
    /// Your deployment of a model, such as openai/gpt-4o=my-gpt-4o; MODEL= alone removes it.
    #[arg(long = "deployment", value_name = "MODEL=NAME", help_heading = "Hosting")]
    deployments: Vec<String>,
    /// The API version for a cloud's older, per-deployment paths, such as 2024-10-21.
    #[arg(long, help_heading = "Hosting")]
    api_version: Option<String>,
    /// The kind of its secret, such as oauth_client, if the provider accepts several.
    #[arg(long, help_heading = "Hosting")]
    pub auth: Option<String>,
    /// Another field of its config, such as tenant_id=…; NAME= alone removes it.
    #[arg(long = "config", value_name = "NAME=TEXT", help_heading = "Hosting")]
    fields: Vec<String>,
}

impl Hosting {
    /// The `config` field of a request; `None` if no option was given.
    pub fn config(self) -> Result<Option<Value>, Failure> {
        let mut deployments = Map::new();
        for pair in &self.deployments {
            let Some((model, name)) = pair.split_once('=').filter(|(model, _)| !model.is_empty()) else {
                let message = format!(
                    "\"{pair}\" isn't a deployment. Give MODEL=NAME, such as openai/gpt-4o=my-gpt-4o."
                );
                return Err(Failure::new(output::USAGE, message));
            };
            let name = if name.is_empty() { Value::Null } else { name.into() };
            deployments.insert(model.to_owned(), name);
        }
        let mut config = Map::new();
        if !deployments.is_empty() {
            config.insert("deployments".to_owned(), Value::Object(deployments));
        }
        if let Some(version) = self.api_version {
            config.insert("api_version".to_owned(), json!(version));
        }
        for pair in &self.fields {
            let Some((name, text)) = pair.split_once('=').filter(|(name, _)| !name.is_empty()) else {
                let message =
                    format!("\"{pair}\" isn't a field. Give NAME=TEXT, such as tenant_id=my-tenant.");
                return Err(Failure::new(output::USAGE, message));
            };
            let text = if text.is_empty() { Value::Null } else { text.into() };
            config.insert(name.to_owned(), text);
        }
        Ok(if config.is_empty() { None } else { Some(Value::Object(config)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(deployments: &[&str], api_version: Option<&str>) -> Result<Option<Value>, Failure> {
        let deployments = deployments.iter().map(ToString::to_string).collect();
        let api_version = api_version.map(str::to_owned);
        Hosting { deployments, api_version, auth: None, fields: Vec::new() }.config()
    }

    #[test]
    fn fields_are_given_and_taken_back() {
        let fields = |fields: &[&str]| {
            let fields = fields.iter().map(ToString::to_string).collect();
            Hosting { deployments: Vec::new(), api_version: None, auth: None, fields }.config()
        };
        let expected = json!({"tenant_id": "t=1", "client_id": null});
        assert_eq!(fields(&["tenant_id=t=1", "client_id="]).unwrap(), Some(expected));
        assert!(fields(&["tenant_id"]).is_err() && fields(&["=x"]).is_err());
    }

    #[test]
    fn deployments_are_named_and_taken_back() {
        assert_eq!(config(&[], None).unwrap(), None);
        let expected =
            json!({"deployments": {"openai/gpt-4o": "mine", "old": null}, "api_version": "2024-10-21"});
        assert_eq!(config(&["openai/gpt-4o=mine", "old="], Some("2024-10-21")).unwrap(), Some(expected));
        assert!(config(&["mine"], None).is_err() && config(&["=mine"], None).is_err());
    }
}
