//! Anthropic's models on Azure AI Foundry: the Messages API at the customer's own resource, with deployment
//! names for models.

use bytes::Bytes;
use domain::{Fault, Grammar, Hosting, Operation};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use serde_json::json;

use crate::anthropic::Anthropic;
use crate::{
    CacheHelp, Classified, GrantStep, Granting, ModelRequest, Outgoing, Provider, Signer, Target, auth,
    compatible, missing,
};

/// The path under the resource where Anthropic's paths start.
const BELOW: &str = "/anthropic";
const SERVICE: &str = "https://ai.azure.com";
const VERSION: HeaderName = HeaderName::from_static("anthropic-version");
const USUAL_VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");
/// Anthropic's own client sends the key under both names.
const KEYS: [HeaderName; 2] = [HeaderName::from_static("x-api-key"), HeaderName::from_static("api-key")];

pub(crate) struct AzureFoundry;

impl Provider for AzureFoundry {
    fn grammars(&self, operation: Operation, upstream_model: &str) -> &'static [Grammar] {
        match operation {
            // Azure does not serve Anthropic's batches, and no file of ours is uploaded there.
            Operation::Batch | Operation::File => &[],
            _ => Anthropic.grammars(operation, upstream_model),
        }
    }

    fn cache_help(&self, grammar: Grammar) -> Option<CacheHelp> {
        Anthropic.cache_help(grammar)
    }

    fn generate(&self, target: &Target<'_>, ask: &ModelRequest<'_>) -> Result<Outgoing, Box<Fault>> {
        Anthropic.generate(&Target { base_url: &base(target.base_url), ..*target }, ask)
    }

    fn authorise(&self, outgoing: &mut Outgoing, signer: &Signer<'_>) -> Result<(), Box<Fault>> {
        if signer.hosting.auth.is_exchanged() {
            return auth::bearer::sign(outgoing, signer.secret);
        }
        KEYS.into_iter().try_for_each(|name| auth::key::sign(outgoing, name, signer.secret))
    }

    fn granting(&self) -> Option<&dyn Granting> {
        Some(self)
    }

    /// Deployments can't be listed, so this counts the tokens of one character on the first deployment.
    fn list_models(&self, base_url: &str, hosting: &Hosting) -> Outgoing {
        let deployment = hosting.deployments.values().next().map(String::as_str).unwrap_or_default();
        let turn = json!({"role": "user", "content": "."});
        let body = json!({"model": deployment, "messages": [turn]}).to_string();
        let mut outgoing = compatible::list_models(base_url);
        outgoing.method = Method::POST;
        outgoing.url = compatible::join(&base(base_url), "v1/messages/count_tokens");
        outgoing.headers.push((VERSION, USUAL_VERSION));
        outgoing.headers.push((CONTENT_TYPE, HeaderValue::from_static("application/json")));
        outgoing.body = vec![Bytes::from(body)];
        outgoing
    }

    fn read_models(&self, _body: &Bytes) -> Option<Vec<String>> {
        None
    }

    fn classify(&self, status: u16, headers: &HeaderMap, body: &Bytes, provider: &str) -> Classified {
        let classified = Anthropic.classify(status, headers, body, provider);
        Classified { fix: missing::azure(None, &String::from_utf8_lossy(body)), ..classified }
    }
}

impl Granting for AzureFoundry {
    fn grant(
        &self,
        _base_url: &str,
        signer: &Signer<'_>,
        answers: &[Bytes],
    ) -> Result<GrantStep, Box<Fault>> {
        auth::entra::grant(signer, SERVICE, answers)
    }

    fn classify_grant(&self, status: u16, headers: &HeaderMap, body: &Bytes, provider: &str) -> Classified {
        auth::entra::classify(status, headers, body, provider)
    }
}

/// The base URL may contain Anthropic's part of the path or not.
fn base(base_url: &str) -> String {
    let base = base_url.trim_end_matches('/');
    format!("{}{BELOW}", base.strip_suffix(BELOW).unwrap_or(base))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_given_with_the_vendors_part_or_without_it() {
        for given in ["https://r.example", "https://r.example/", "https://r.example/anthropic/"] {
            assert_eq!(base(given), "https://r.example/anthropic");
        }
    }

    #[test]
    fn the_first_deployment_is_counted_by() {
        let deployments = [("anthropic/claude-x".to_owned(), "mine".to_owned())].into();
        let hosting = Hosting { deployments, ..Hosting::default() };
        let outgoing = AzureFoundry.list_models("https://r.example", &hosting);
        assert_eq!(outgoing.url, "https://r.example/anthropic/v1/messages/count_tokens");
        let body: serde_json::Value = serde_json::from_slice(&outgoing.body.concat()).unwrap();
        assert_eq!(body["model"], "mine");
    }
}
