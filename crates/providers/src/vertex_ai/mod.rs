//! Vertex AI: models of several vendors in the customer's own project and location. Each vendor has its own
//! wire format and paths; they share the rest of the URL, the access token and most errors.

mod bodies;
mod embeddings;
pub mod exports;
mod imagen;
mod maker;
mod veo;
mod videos;

use bodies::{bare_count, with_members};
use bytes::Bytes;
use domain::{Fault, FaultClass, Grammar, Hosting, Operation, Prompt};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use maker::{Vendor, maker};
use operations::images::ImageRequest;
use serde::Deserialize;

use crate::anthropic::Anthropic;
use crate::auth::{federation, google};
use crate::compatible::EncodedBody;
use crate::gemini::{Gemini, STORES};
use crate::{
    CacheHelp, Classified, GrantStep, Granting, ModelRequest, Outgoing, Provider, ServerFacts, Signer,
    Target, compatible, missing,
};

/// New fields of Google's own models appear in this version first.
const NEWEST: &str = "v1beta1";
const STABLE: &str = "v1";
/// The location if none is set, as in Google's own clients.
const ANYWHERE: &str = "global";
const QUOTA_PROJECT: HeaderName = HeaderName::from_static("x-goog-user-project");

const VERSION: HeaderName = HeaderName::from_static("anthropic-version");
const BETA: HeaderName = HeaderName::from_static("anthropic-beta");
/// Anthropic's API version and its name on Vertex AI.
const FIRST_VERSION: (&str, &str) = ("2023-06-01", "vertex-2023-10-16");

/// The request that verifies an account: counting tokens is free and needs the same permission as an answer.
const PROBE: &str = "publishers/google/models/gemini-2.5-flash-lite:countTokens";
const PROBE_BODY: &[u8] = br#"{"contents":[{"role":"user","parts":[{"text":"."}]}]}"#;

/// The first embedding model with Gemini in its name.
const FIRST_EMBEDDING: &str = "gemini-embedding-001";

/// Refusals of an image prompt vary in wording, but always contain one of these.
const RULES: [&str; 2] = ["Responsible AI", "violate our policies"];

pub(crate) struct VertexAi;

impl Provider for VertexAi {
    fn grammars(&self, operation: Operation, upstream_model: &str) -> &'static [Grammar] {
        maker(upstream_model).0.grammars(operation)
    }

    fn has_own_format(&self, operation: Operation, upstream_model: &str) -> bool {
        maker(upstream_model).0.has_own_format(operation)
    }

    fn facts(&self) -> &'static ServerFacts {
        const FACTS: ServerFacts = ServerFacts { storage_domains: STORES, ..ServerFacts::USUAL };
        &FACTS
    }

    fn cache_help(&self, grammar: Grammar) -> Option<CacheHelp> {
        (grammar == Grammar::Anthropic).then_some(CacheHelp::Marks)
    }

    fn generate(&self, target: &Target<'_>, ask: &ModelRequest<'_>) -> Result<Outgoing, Box<Fault>> {
        let (maker, name) = maker(target.upstream_model);
        let mut outgoing = match maker {
            _ if ask.operation == Operation::Video => videos::generate(target, ask, (maker, name)),
            Vendor::Google if ask.operation == Operation::Embed => of_texts(target, ask, name),
            Vendor::Google => of_google(target, ask, name),
            Vendor::Imagen => of_pictures(target, ask, name),
            Vendor::Veo => Err(compatible::unsupported_operation(ask.operation)),
            Vendor::Anthropic => of_anthropic(target, ask, name),
            Vendor::Others => compatible::generate_at(target, ask, maker.grammars(ask.operation), |path| {
                let below = format!("endpoints/openapi/{path}");
                address(target.base_url, target.hosting, STABLE, &below)
            }),
        }?;
        outgoing.headers.extend(quota_project(target.hosting));
        Ok(outgoing)
    }

    fn authorise(&self, outgoing: &mut Outgoing, signer: &Signer<'_>) -> Result<(), Box<Fault>> {
        google::sign(outgoing, signer.secret)
    }

    fn granting(&self) -> Option<&dyn Granting> {
        Some(self)
    }

    fn list_models(&self, base_url: &str, hosting: &Hosting) -> Outgoing {
        let mut outgoing = compatible::list_models(base_url);
        outgoing.method = Method::POST;
        outgoing.url = address(base_url, hosting, NEWEST, PROBE);
        outgoing.headers.push((CONTENT_TYPE, HeaderValue::from_static("application/json")));
        outgoing.headers.extend(quota_project(hosting));
        outgoing.body = vec![Bytes::from_static(PROBE_BODY)];
        outgoing
    }

    /// There is no list of the models that a project may use.
    fn read_models(&self, _body: &Bytes) -> Option<Vec<String>> {
        None
    }

    /// Anthropic's models answer errors in Anthropic's format; all others are in Google's.
    fn classify(&self, status: u16, headers: &HeaderMap, body: &Bytes, provider: &str) -> Classified {
        match serde_json::from_slice::<Refusal>(body) {
            Ok(refusal) if refusal.kind == "error" => Anthropic.classify(status, headers, body, provider),
            _ => {
                let classified = of_rules(Gemini.classify(status, headers, body, provider));
                Classified { fix: missing::google(None, &String::from_utf8_lossy(body)), ..classified }
            }
        }
    }
}

impl Granting for VertexAi {
    fn grant(
        &self,
        _base_url: &str,
        signer: &Signer<'_>,
        answers: &[Bytes],
    ) -> Result<GrantStep, Box<Fault>> {
        google::grant(signer, answers)
    }

    fn classify_grant(&self, status: u16, headers: &HeaderMap, body: &Bytes, provider: &str) -> Classified {
        let classified = federation::classify(status, headers, body, provider);
        Classified { fix: missing::google(None, &String::from_utf8_lossy(body)), ..classified }
    }
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(rename = "type")]
    kind: String,
}

fn of_google(target: &Target<'_>, ask: &ModelRequest<'_>, name: &str) -> Result<Outgoing, Box<Fault>> {
    // Vertex AI stores no answers and has no field for it.
    let stores = ask.prompt.and_then(|prompt| prompt.store);
    let unkept =
        ask.prompt.filter(|_| stores.is_some()).map(|prompt| Prompt { store: None, ..prompt.clone() });
    let ask = &ModelRequest { prompt: unkept.as_ref().or(ask.prompt), ..*ask };
    let mut encoded = compatible::encode_body(target, ask, Vendor::Google.grammars(ask.operation))?;
    if stores == Some(true) {
        encoded.dropped.push("store".to_owned());
    }
    let verb = match ask.operation {
        Operation::Count => {
            encoded.body = bare_count(&encoded.body)?;
            "countTokens"
        }
        _ if ask.request.stream => "streamGenerateContent?alt=sse",
        _ => "generateContent",
    };
    let below = format!("publishers/google/models/{}:{verb}", google::segment(name));
    Ok(encoded.to(address(target.base_url, target.hosting, NEWEST, &below), ask))
}

/// A prompt that is refused before generation is reported like any bad request; only its message tells.
fn of_rules(mut classified: Classified) -> Classified {
    let message = classified.report.message.as_deref().unwrap_or_default();
    let is_policy = RULES.iter().any(|words| message.contains(words));
    if classified.class == FaultClass::BadRequest && is_policy {
        classified.class = FaultClass::ContentPolicy;
        // One status covers many reasons. Where the class already states the reason, the status name would
        // hide it.
        classified.report.code = None;
    }
    classified
}

/// Image models do not stream.
fn of_pictures(target: &Target<'_>, ask: &ModelRequest<'_>, name: &str) -> Result<Outgoing, Box<Fault>> {
    if ask.operation != Operation::Images {
        return Err(compatible::unsupported_operation(ask.operation));
    }
    let translated = imagen::write(ImageRequest::read(ask.grammar, ask.body, ask.is_lenient)?)?;
    let below = format!("publishers/google/models/{}:predict", google::segment(name));
    let url = address(target.base_url, target.hosting, STABLE, &below);
    Ok(EncodedBody::own(translated).to(url, ask).answered_by(imagen::ANSWER))
}

/// Newer embedding models take a single content; the first one, and all before it, take a list of instances.
fn of_texts(target: &Target<'_>, ask: &ModelRequest<'_>, name: &str) -> Result<Outgoing, Box<Fault>> {
    let is_newer = name.contains("gemini") && name != FIRST_EMBEDDING;
    let (encoded, verb) = if is_newer {
        (compatible::encode_embeddings(ask, true, embeddings::write_content)?, "embedContent")
    } else {
        (compatible::encode_embeddings(ask, true, embeddings::write_instances)?, "predict")
    };
    let below = format!("publishers/google/models/{}:{verb}", google::segment(name));
    let url = address(target.base_url, target.hosting, NEWEST, &below);
    Ok(encoded.to(url, ask).answered_by(embeddings::ANSWER))
}

/// Anthropic's body, except that the model is in the path and the version and betas move from headers into
/// the body.
fn of_anthropic(target: &Target<'_>, ask: &ModelRequest<'_>, name: &str) -> Result<Outgoing, Box<Fault>> {
    let own = Target { upstream_model: name, ..*target };
    let mut encoded = compatible::encode_body(&own, ask, Vendor::Anthropic.grammars(ask.operation))?;
    let is_count = ask.operation == Operation::Count;
    let headers = if encoded.grammar == Some(ask.grammar) { ask.native_headers } else { &[] };
    encoded.body = with_members(&encoded.body, &members(headers)?, is_count)?;
    if ask.prompt.is_some() {
        // A translated body is one segment, as inserting cache marks requires.
        encoded.body = vec![Bytes::from(encoded.body.concat())];
    }
    let (name, verb) = match ask.operation {
        Operation::Count => ("count-tokens".to_owned(), "rawPredict"),
        _ if ask.request.stream => (google::segment(name), "streamRawPredict"),
        _ => (google::segment(name), "rawPredict"),
    };
    let below = format!("publishers/anthropic/models/{name}:{verb}");
    let mut outgoing = encoded.to(address(target.base_url, target.hosting, STABLE, &below), ask);
    outgoing.headers.retain(|(name, _)| *name != VERSION && *name != BETA);
    Ok(outgoing)
}

/// The API version that the client uses, and the betas that it requests.
fn members(headers: &[(HeaderName, HeaderValue)]) -> Result<Vec<(&'static str, String)>, Box<Fault>> {
    let of = |wanted: HeaderName| {
        let values = headers.iter().filter(move |(name, _)| *name == wanted);
        values.filter_map(|(_, value)| value.to_str().ok())
    };
    let (first, here) = FIRST_VERSION;
    let version = of(VERSION).next().filter(|version| *version != first).unwrap_or(here);
    let betas: Vec<&str> =
        of(BETA).flat_map(|betas| betas.split(',')).map(str::trim).filter(|beta| !beta.is_empty()).collect();
    let json = |value: Result<String, serde_json::Error>| value.map_err(|_| Box::new(Fault::internal()));
    let mut members = vec![("anthropic_version", json(serde_json::to_string(version))?)];
    if !betas.is_empty() {
        members.push(("anthropic_beta", json(serde_json::to_string(&betas))?));
    }
    Ok(members)
}

fn quota_project(hosting: &Hosting) -> Option<(HeaderName, HeaderValue)> {
    let project = hosting.quota_project.as_deref()?;
    Some((QUOTA_PROJECT, HeaderValue::from_str(project).ok()?))
}

fn bare(base_url: &str) -> &str {
    let base = base_url.trim_end_matches('/');
    [NEWEST, STABLE].iter().find_map(|end| base.strip_suffix(end)?.strip_suffix('/')).unwrap_or(base)
}

/// The URL below project and location. The base URL may end with a version, as in the vendors' clients.
fn address(base_url: &str, hosting: &Hosting, version: &str, below: &str) -> String {
    let base = bare(base_url);
    let project = match &hosting.project {
        Some(project) => format!("projects/{}/", google::segment(project)),
        None => google::OWN_PROJECT.to_owned(),
    };
    let location = google::segment(hosting.location_or_region().unwrap_or(ANYWHERE));
    format!("{base}/{version}/{project}locations/{location}/{below}")
}

#[cfg(test)]
mod tests;
