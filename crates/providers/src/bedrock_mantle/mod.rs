//! Amazon Bedrock's second endpoint, Mantle: models of many vendors, each in its vendor's own wire format. It
//! has its own permissions, quotas and SigV4 service name.

use bytes::Bytes;
use domain::{Fault, Grammar, Hosting, Operation};
use http::HeaderMap;
use serde::Deserialize;

use crate::anthropic::Anthropic;
use crate::auth::aws;
use crate::{
    CacheHelp, Classified, GrantStep, Granting, ModelRequest, Outgoing, Provider, Signer, Target,
    aws_bedrock, classify, compatible, missing,
};

const SERVICE: &str = "bedrock-mantle";
/// The ends of base URLs that vendors' clients are configured with.
const SURFACES: [&str; 3] = ["/openai/v1", "/anthropic", "/v1"];
const REFUSED: &str = "x-amzn-errortype";

pub(crate) struct BedrockMantle;

impl Provider for BedrockMantle {
    fn grammars(&self, operation: Operation, upstream_model: &str) -> &'static [Grammar] {
        surface(upstream_model).grammars(operation)
    }

    fn cache_help(&self, grammar: Grammar) -> Option<CacheHelp> {
        (grammar == Grammar::Anthropic).then_some(CacheHelp::Marks)
    }

    fn generate(&self, target: &Target<'_>, ask: &ModelRequest<'_>) -> Result<Outgoing, Box<Fault>> {
        let root = root(target.base_url);
        let surface = surface(target.upstream_model);
        if surface == Surface::Anthropic {
            let base = compatible::join(root, "anthropic");
            return Anthropic.generate(&Target { base_url: &base, ..*target }, ask);
        }
        let below = if surface == Surface::Frontier { "openai/v1" } else { "v1" };
        compatible::generate_at(target, ask, surface.grammars(ask.operation), |path| {
            compatible::join(root, &format!("{below}/{path}"))
        })
    }

    fn authorise(&self, outgoing: &mut Outgoing, signer: &Signer<'_>) -> Result<(), Box<Fault>> {
        aws::sign(outgoing, signer, SERVICE)
    }

    fn granting(&self) -> Option<&dyn Granting> {
        Some(self)
    }

    fn list_models(&self, base_url: &str, _hosting: &Hosting) -> Outgoing {
        compatible::list_models(&compatible::join(root(base_url), "v1"))
    }

    /// Errors of AWS itself have AWS's format, all others that of the API surface.
    fn classify(&self, status: u16, headers: &HeaderMap, body: &Bytes, provider: &str) -> Classified {
        if headers.contains_key(REFUSED) {
            return aws_bedrock::class::classify(status, headers, body, provider);
        }
        let classified = match serde_json::from_slice::<Refusal>(body) {
            Ok(refusal) if refusal.kind == "error" => Anthropic.classify(status, headers, body, provider),
            _ => classify::classify(status, headers, body, provider),
        };
        Classified { fix: missing::amazon(None, &String::from_utf8_lossy(body)), ..classified }
    }
}

impl Granting for BedrockMantle {
    fn grant(&self, base_url: &str, signer: &Signer<'_>, answers: &[Bytes]) -> Result<GrantStep, Box<Fault>> {
        aws::grant(base_url, signer, answers)
    }

    fn classify_grant(&self, status: u16, headers: &HeaderMap, body: &Bytes, provider: &str) -> Classified {
        aws::classify(status, headers, body, provider)
    }
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(rename = "type")]
    kind: String,
}

/// The API surface that serves a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Surface {
    Anthropic,
    /// The vendors' newest models, through the Responses API only.
    Frontier,
    /// OpenAI's open models, through either of OpenAI's APIs.
    Open,
    /// Open models of others, through chat completions.
    Others,
}

/// Model ids start with the vendor. They have neither a version suffix nor a geography prefix.
fn surface(model: &str) -> Surface {
    let is = |prefix: &str| model.starts_with(prefix);
    if is("anthropic.") {
        Surface::Anthropic
    } else if is("openai.gpt-oss") {
        Surface::Open
    } else if is("openai.") || is("xai.") || is("google.gemma-4") {
        Surface::Frontier
    } else {
        Surface::Others
    }
}

impl Surface {
    const fn grammars(self, operation: Operation) -> &'static [Grammar] {
        match (operation, self) {
            (Operation::Count, Self::Anthropic) => &[Grammar::Anthropic],
            (Operation::Chat | Operation::Run | Operation::Verify, _) => match self {
                Self::Anthropic => &[Grammar::Anthropic],
                Self::Frontier => &[Grammar::Responses],
                Self::Open => &[Grammar::Chat, Grammar::Responses],
                Self::Others => &[Grammar::Chat],
            },
            _ => &[],
        }
    }
}

/// The base URL may end like that of one of the vendors' clients.
fn root(base_url: &str) -> &str {
    let base = base_url.trim_end_matches('/');
    SURFACES.iter().find_map(|end| base.strip_suffix(end)).unwrap_or(base)
}

#[cfg(test)]
mod tests {
    use domain::{AuthKind, Secret};

    use super::*;

    #[test]
    fn an_endpoint_is_given_with_a_surface_or_without() {
        for end in ["", "/", "/v1", "/openai/v1/", "/anthropic"] {
            let given = format!("https://bedrock-mantle.eu-west-1.api.aws{end}");
            assert_eq!(root(&given), "https://bedrock-mantle.eu-west-1.api.aws", "{given}");
        }
    }

    #[test]
    fn a_model_is_asked_in_its_vendors_grammar() {
        let grammars = |model| BedrockMantle.grammars(Operation::Chat, model);
        for (model, expected) in [
            ("anthropic.claude-sonnet-5", [Grammar::Anthropic].as_slice()),
            ("openai.gpt-5.4", &[Grammar::Responses]),
            ("openai.gpt-oss-120b", &[Grammar::Chat, Grammar::Responses]),
            ("xai.grok-4.3", &[Grammar::Responses]),
            ("qwen.qwen3-32b", &[Grammar::Chat]),
        ] {
            assert_eq!(grammars(model), expected, "{model}");
            let counts = !BedrockMantle.grammars(Operation::Count, model).is_empty();
            assert_eq!(counts, model.starts_with("anthropic."), "{model}");
            assert!(BedrockMantle.grammars(Operation::Embed, model).is_empty());
        }
    }

    #[test]
    fn a_signature_names_the_endpoints_own_service() {
        let keys = r#"{"access_key_id":"AKIDEXAMPLE","secret_access_key":"canary"}"#;
        let hosting = Hosting { auth: AuthKind::IamStatic, ..Hosting::default() };
        let base = "https://bedrock-mantle.eu-west-1.api.aws";
        let mut outgoing = BedrockMantle.list_models(base, &hosting);
        assert_eq!(outgoing.url, "https://bedrock-mantle.eu-west-1.api.aws/v1/models");
        let secret = Secret::from_text(keys.to_owned());
        let signer = Signer { secret: &secret, hosting: &hosting, unix_s: 0 };
        BedrockMantle.authorise(&mut outgoing, &signer).unwrap();
        let value = &outgoing.headers.iter().find(|(name, _)| name == "authorization").unwrap().1;
        assert!(value.to_str().unwrap().contains("/19700101/eu-west-1/bedrock-mantle/aws4_request"));
    }

    #[test]
    fn refusals_are_read_by_who_refuses() {
        let class_of = |headers: &HeaderMap, status, body: &'static str| {
            let body = Bytes::from_static(body.as_bytes());
            BedrockMantle.classify(status, headers, &body, "bedrock_mantle").class
        };
        use domain::FaultClass as Class;
        let none = HeaderMap::new();
        let overloaded = r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#;
        assert_eq!(class_of(&none, 529, overloaded), Class::Overloaded);
        let wrong = r#"{"error":{"message":"m","type":"invalid_request_error","param":null,"code":"context_length_exceeded"}}"#;
        assert_eq!(class_of(&none, 400, wrong), Class::ContextLength);
        let mut cloud = HeaderMap::new();
        cloud.insert(REFUSED, "ExpiredTokenException".parse().unwrap());
        assert_eq!(class_of(&cloud, 403, r#"{"message":"m"}"#), Class::UpstreamAuth);
    }
}
