//! Amazon Bedrock: models of many vendors in the Converse format. The region is in the host name and the
//! model in the path. Authentication is by Bedrock API key, by access keys, or by those of a role.

pub(crate) mod class;
mod embeddings;
pub mod exports;
mod invoke_model;
mod jobs;

use bytes::Bytes;
use domain::{Fault, FaultClass, Grammar, Hosting, Operation};
use embeddings::EmbeddingForm;
use http::HeaderMap;
use http::header::{ACCEPT, HeaderValue};
use invoke_model::{ImageForm, RerankForm};
use operations::images::ImageRequest;
use operations::rerank::RerankRequest;
use serde::Deserialize;

use crate::auth::aws;
use crate::compatible::EncodedBody;
use crate::escape::{UNRESERVED, escape};
use crate::{Classified, GrantStep, Granting, ModelRequest, Outgoing, Provider, Signer, Target, compatible};

const NATIVE: &[Grammar] = &[Grammar::Converse];
const SERVICE: &str = "bedrock";
const STORAGE: &str = "s3";
const EVENTS: HeaderValue = HeaderValue::from_static("application/vnd.amazon.eventstream");
/// The geographies of cross-region inference profiles, and `global`.
const GEOGRAPHIES: [&str; 6] = ["us", "eu", "apac", "jp", "au", "global"];

pub(crate) struct AwsBedrock;

impl Provider for AwsBedrock {
    fn grammars(&self, operation: Operation, upstream_model: &str) -> &'static [Grammar] {
        let does = match operation {
            Operation::Count => countable_model(upstream_model).is_some(),
            // Image and rerank models serve no conversations.
            Operation::Chat | Operation::Run | Operation::Verify | Operation::Batch => {
                image_form(upstream_model).is_none() && rerank_form(upstream_model).is_none()
            }
            _ => false,
        };
        if does { NATIVE } else { &[] }
    }

    fn has_own_format(&self, operation: Operation, upstream_model: &str) -> bool {
        match operation {
            Operation::Embed => form(upstream_model).is_some(),
            Operation::Images => image_form(upstream_model).is_some(),
            Operation::Rerank => rerank_form(upstream_model).is_some(),
            _ => false,
        }
    }

    fn generate(&self, target: &Target<'_>, ask: &ModelRequest<'_>) -> Result<Outgoing, Box<Fault>> {
        if operations::of(ask.operation).facts().object().is_some() {
            return jobs::generate(target, ask);
        }
        let named = target.upstream_model;
        let model = match ask.operation {
            Operation::Count => countable_model(named)
                .ok_or_else(|| compatible::unsupported_operation(ask.operation))?
                .to_owned(),
            _ => model(named, target.hosting)?,
        };
        let encoded = match ask.operation {
            Operation::Embed | Operation::Images | Operation::Rerank => invoke_body(ask, named)?,
            _ => compatible::encode_body(target, ask, self.grammars(ask.operation, named))?,
        };
        let verb = match ask.operation {
            Operation::Embed | Operation::Images | Operation::Rerank => "/invoke",
            Operation::Count => "/count-tokens",
            _ if ask.request.stream => "/converse-stream",
            _ => "/converse",
        };
        let mut path = String::from("model/");
        escape(model.as_bytes(), UNRESERVED, &mut path);
        path.push_str(verb);
        let mut outgoing = encoded.to(compatible::join(target.base_url, &path), ask);
        outgoing = match ask.operation {
            Operation::Embed => outgoing.answered_by(embeddings::ANSWER),
            Operation::Images => outgoing.answered_by(invoke_model::IMAGES),
            _ => outgoing,
        };
        if ask.request.stream && ask.operation != Operation::Images {
            let accepts = outgoing.headers.iter_mut().filter(|(name, _)| *name == ACCEPT);
            accepts.for_each(|(_, value)| *value = EVENTS);
        }
        Ok(outgoing)
    }

    fn authorise(&self, outgoing: &mut Outgoing, signer: &Signer<'_>) -> Result<(), Box<Fault>> {
        // Only S3 requests carry the body's hash.
        let is_storage = outgoing.headers.iter().any(|(name, _)| *name == crate::storage::HASH);
        aws::sign(outgoing, signer, if is_storage { STORAGE } else { SERVICE })
    }

    fn granting(&self) -> Option<&dyn Granting> {
        Some(self)
    }

    fn list_models(&self, base_url: &str, _hosting: &Hosting) -> Outgoing {
        let control = control(base_url);
        let mut outgoing = compatible::list_models(&control);
        outgoing.url = compatible::join(&control, "foundation-models");
        outgoing
    }

    fn read_models(&self, body: &Bytes) -> Option<Vec<String>> {
        let list: List = serde_json::from_slice(body).ok()?;
        Some(list.model_summaries.into_iter().map(|model| model.model_id).collect())
    }

    fn classify(&self, status: u16, headers: &HeaderMap, body: &Bytes, provider: &str) -> Classified {
        jobs::classify_storage(status, headers, body, provider)
            .unwrap_or_else(|| class::classify(status, headers, body, provider))
    }
}

impl Granting for AwsBedrock {
    fn grant(&self, base_url: &str, signer: &Signer<'_>, answers: &[Bytes]) -> Result<GrantStep, Box<Fault>> {
        aws::grant(base_url, signer, answers)
    }

    fn classify_grant(&self, status: u16, headers: &HeaderMap, body: &Bytes, provider: &str) -> Classified {
        aws::classify(status, headers, body, provider)
    }
}

/// The control-plane host of the runtime's region, which lists models and runs batch jobs.
fn control(base_url: &str) -> String {
    base_url.replacen("://bedrock-runtime", "://bedrock", 1)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    model_summaries: Vec<Summary>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    model_id: String,
}

/// The request format of an embedding model; it depends on the vendor.
fn form(named: &str) -> Option<EmbeddingForm> {
    if named.contains("titan-embed-text") {
        Some(EmbeddingForm::InputText)
    } else if named.contains("cohere.embed-") {
        Some(EmbeddingForm::Texts { is_sized: named.contains("cohere.embed-v4") })
    } else {
        None
    }
}

/// The request format of an image model.
fn image_form(named: &str) -> Option<ImageForm> {
    if named.contains("amazon.titan-image-generator") || named.contains("amazon.nova-canvas") {
        Some(ImageForm::Tasks)
    } else if named.contains("stability.") {
        Some(ImageForm::Prompt)
    } else {
        None
    }
}

/// The request format of a rerank model.
fn rerank_form(named: &str) -> Option<RerankForm> {
    if named.contains("cohere.rerank-") {
        Some(RerankForm { version: Some(2), passthrough: &["max_tokens_per_doc"] })
    } else if named.contains("amazon.rerank-") {
        Some(RerankForm { version: None, passthrough: &[] })
    } else {
        None
    }
}

/// A body for `InvokeModel`, in the format of the model's vendor.
fn invoke_body(ask: &ModelRequest<'_>, named: &str) -> Result<EncodedBody, Box<Fault>> {
    let no_such = || compatible::unsupported_operation(ask.operation);
    let translated = match ask.operation {
        Operation::Images => {
            let form = image_form(named).ok_or_else(no_such)?;
            invoke_model::write_images(ImageRequest::read(ask.grammar, ask.body, ask.is_lenient)?, form)?
        }
        Operation::Rerank => {
            let form = rerank_form(named).ok_or_else(no_such)?;
            invoke_model::write_rerank(RerankRequest::read(ask.grammar, ask.body, ask.is_lenient)?, form)?
        }
        _ => {
            return {
                let form = form(named).ok_or_else(no_such)?;
                compatible::encode_embeddings(ask, false, |texts| embeddings::write(texts, form))
            };
        }
    };
    Ok(EncodedBody::own(translated))
}

/// The model id for counting tokens, without the inference profile's prefix: `CountTokens` accepts no
/// profiles, and only Anthropic's models.
fn countable_model(named: &str) -> Option<&str> {
    let (prefix, rest) = named.split_once('.')?;
    let id = if GEOGRAPHIES.contains(&prefix) { rest } else { named };
    Some(id).filter(|id| id.starts_with("anthropic."))
}

/// The model's id, inference profile or ARN. A profile gets the geography of `config.location`, or else that
/// of the region, so that nothing is processed in a place that was not chosen.
fn model(named: &str, hosting: &Hosting) -> Result<String, Box<Fault>> {
    // The id becomes a path segment; dots alone would change the path, escaped or not.
    if named.bytes().all(|byte| byte == b'.') {
        let message = format!("\"{named}\" isn't a model of this provider.");
        let fault = Fault::new(FaultClass::UpstreamNotFound, "model_not_found", message);
        return Err(Box::new(
            fault.fix("Name the model by its id, its inference profile or its ARN.").param("model"),
        ));
    }
    let (prefix, rest) = named.split_once('.').unwrap_or_default();
    match geography(hosting).filter(|_| GEOGRAPHIES.contains(&prefix)) {
        Some(own) => Ok(format!("{own}.{rest}")),
        None => Ok(named.to_owned()),
    }
}

fn geography(hosting: &Hosting) -> Option<&str> {
    if let Some(location) = hosting.location.as_deref() {
        return Some(location);
    }
    let region = hosting.region.as_deref()?;
    match region.split('-').next()? {
        "us" if region.starts_with("us-gov-") => Some("us-gov"),
        "us" | "ca" => Some("us"),
        "eu" => Some("eu"),
        "ap" => Some("apac"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use domain::{AuthKind, Secret};

    use super::*;

    fn at(region: Option<&str>, location: Option<&str>) -> Hosting {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Hosting { region: owned(region), location: owned(location), ..Hosting::default() }
    }

    #[test]
    fn a_profile_is_of_the_accounts_own_geography() {
        for (region, location, named, expected) in [
            (Some("us-east-1"), None, "us.anthropic.claude-x-v1:0", "us.anthropic.claude-x-v1:0"),
            (Some("eu-west-3"), None, "us.anthropic.claude-x-v1:0", "eu.anthropic.claude-x-v1:0"),
            (Some("ap-south-1"), None, "us.amazon.nova-lite-v1:0", "apac.amazon.nova-lite-v1:0"),
            (Some("ap-northeast-1"), Some("jp"), "us.anthropic.claude-x", "jp.anthropic.claude-x"),
            (Some("eu-west-3"), Some("global"), "us.anthropic.claude-x", "global.anthropic.claude-x"),
            (Some("eu-west-3"), None, "global.anthropic.claude-x", "eu.anthropic.claude-x"),
            (None, None, "global.anthropic.claude-x", "global.anthropic.claude-x"),
            (Some("eu-west-3"), None, "anthropic.claude-x", "anthropic.claude-x"),
            (Some("us-gov-west-1"), None, "us.anthropic.claude-x", "us-gov.anthropic.claude-x"),
            (Some("sa-east-1"), None, "us.anthropic.claude-x", "us.anthropic.claude-x"),
            (None, None, "us.anthropic.claude-x", "us.anthropic.claude-x"),
            (
                Some("eu-west-3"),
                None,
                "arn:aws:bedrock:us-east-1::x/us.y",
                "arn:aws:bedrock:us-east-1::x/us.y",
            ),
        ] {
            assert_eq!(model(named, &at(region, location)).unwrap(), expected, "{region:?} {location:?}");
        }
        for wrong in ["", ".", ".."] {
            assert_eq!(model(wrong, &at(None, None)).expect_err(wrong).code, "model_not_found");
        }
    }

    #[test]
    fn models_are_listed_by_the_control_plane() {
        let listed = |base: &str| AwsBedrock.list_models(base, &domain::hosting::PLAIN).url;
        let control = "https://bedrock.eu-west-1.amazonaws.com/foundation-models";
        assert_eq!(listed("https://bedrock-runtime.eu-west-1.amazonaws.com"), control);
        let guarded = "https://bedrock-fips.us-east-1.amazonaws.com/foundation-models";
        assert_eq!(listed("https://bedrock-runtime-fips.us-east-1.amazonaws.com/"), guarded);
        assert_eq!(listed("http://127.0.0.1:1/bedrock"), "http://127.0.0.1:1/bedrock/foundation-models");
    }

    #[test]
    fn each_kind_signs_in_its_own_way() {
        let keys = r#"{"access_key_id":"AKIDEXAMPLE","secret_access_key":"canary"}"#;
        for (auth, secret, begins) in [
            (AuthKind::ApiKey, "canary", "Bearer canary"),
            (
                AuthKind::IamStatic,
                keys,
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/19700101/eu-west-1/bedrock/aws4_request",
            ),
            (
                AuthKind::IamRole,
                keys,
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/19700101/eu-west-1/bedrock/aws4_request",
            ),
        ] {
            // Without a configured region, the host name has it.
            let hosting = Hosting { auth, ..Hosting::default() };
            let base = "https://bedrock-runtime.eu-west-1.amazonaws.com";
            let mut outgoing = AwsBedrock.list_models(base, &hosting);
            let secret = Secret::from_text(secret.to_owned());
            let signer = Signer { secret: &secret, hosting: &hosting, unix_s: 0 };
            AwsBedrock.authorise(&mut outgoing, &signer).unwrap();
            let value = outgoing.headers.iter().find(|(name, _)| name == "authorization").unwrap().1.clone();
            assert!(value.to_str().unwrap().starts_with(begins) && value.is_sensitive(), "{value:?}");
            assert!(!format!("{:?}", outgoing.headers).contains("canary"));
        }
        let hosting = Hosting { auth: AuthKind::IamStatic, ..Hosting::default() };
        let mut outgoing = AwsBedrock.list_models("https://models.example", &hosting);
        let secret = Secret::from_text(keys.to_owned());
        let signer = Signer { secret: &secret, hosting: &hosting, unix_s: 0 };
        let fault = AwsBedrock.authorise(&mut outgoing, &signer).unwrap_err();
        assert_eq!(
            (fault.code, fault.fix.as_deref()),
            ("credential_incomplete", Some("Give its region, such as us-east-1."))
        );
    }
}
