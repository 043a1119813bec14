//! The Gemini API: its own wire format, with the model in the path.

use bytes::Bytes;
use conversation::request::{Stored, StoredAct};
use domain::{Fault, Grammar, Hosting, Operation, UpstreamReport};
use gemini::{read_gemini_error, write_cache_change};
use http::header::HeaderName;
use http::{HeaderMap, Method};
use serde::Deserialize;

use crate::compatible::EncodedBody;
use crate::escape::escape;
use crate::retry_after::delay_ms;
use crate::{
    CacheHelp, Classified, ModelRequest, Outgoing, Provider, ServerFacts, Signer, Target, auth, classify,
    compatible,
};

const NATIVE: &[Grammar] = &[Grammar::Gemini];
const KEY: HeaderName = HeaderName::from_static("x-goog-api-key");
/// New fields appear in this version first.
const VERSION: &str = "v1beta";
const PREFIX: &str = "models/";

/// Domains where Google's clouds store what they are given.
pub(crate) const STORES: &[&str] = &["googleapis.com", "storage.cloud.google.com"];

/// The service tier of a response.
const TIER: &str = "x-gemini-service-tier";

pub(crate) struct Gemini;

impl Provider for Gemini {
    fn grammars(&self, operation: Operation, _upstream_model: &str) -> &'static [Grammar] {
        match operation {
            Operation::Chat
            | Operation::Run
            | Operation::Verify
            | Operation::Count
            | Operation::Embed
            | Operation::Batch
            | Operation::CachedContent => NATIVE,
            _ => &[],
        }
    }

    fn generate(&self, target: &Target<'_>, ask: &ModelRequest<'_>) -> Result<Outgoing, Box<Fault>> {
        let stored = ask.request.stored.as_deref().filter(|_| ask.operation == Operation::Batch);
        if let Some(stored) = stored {
            return Ok(batch(target, ask, stored));
        }
        if ask.operation == Operation::CachedContent {
            return self.cached_content(target, ask);
        }
        let encoded =
            compatible::encode_body(target, ask, self.grammars(ask.operation, target.upstream_model))?;
        let is_single = ask.grammar == Grammar::Gemini && !ask.request.vectors().is_batch;
        let verb = match ask.operation {
            Operation::Embed if is_single => "embedContent",
            Operation::Embed => "batchEmbedContents",
            Operation::Count => "countTokens",
            Operation::Batch => "batchGenerateContent",
            _ if ask.request.stream => "streamGenerateContent?alt=sse",
            _ => "generateContent",
        };
        let path = format!("{VERSION}/{}:{verb}", resource(target.upstream_model));
        Ok(encoded.to(compatible::join(target.base_url, &path), ask))
    }

    fn facts(&self) -> &'static ServerFacts {
        const FACTS: ServerFacts =
            ServerFacts { storage_domains: STORES, tier_header: Some(TIER), ..ServerFacts::USUAL };
        &FACTS
    }

    fn cache_help(&self, grammar: Grammar) -> Option<CacheHelp> {
        NATIVE.contains(&grammar).then_some(CacheHelp::Named)
    }

    fn authorise(&self, outgoing: &mut Outgoing, signer: &Signer<'_>) -> Result<(), Box<Fault>> {
        auth::key::sign(outgoing, KEY, signer.secret)
    }

    fn list_models(&self, base_url: &str, _hosting: &Hosting) -> Outgoing {
        let mut outgoing = compatible::list_models(base_url);
        outgoing.url = compatible::join(base_url, &format!("{VERSION}/models?pageSize=1000"));
        outgoing
    }

    fn read_models(&self, body: &Bytes) -> Option<Vec<String>> {
        let list: List = serde_json::from_slice(body).ok()?;
        let name = |model: Named| model.name.strip_prefix(PREFIX).map_or(model.name.clone(), str::to_owned);
        Some(list.models.into_iter().map(name).collect())
    }

    fn classify(&self, status: u16, headers: &HeaderMap, body: &Bytes, provider: &str) -> Classified {
        let mut classified = classify::classify(status, headers, body, provider);
        let (report, class) = read_gemini_error(Some(status), body);
        classified.class = class;
        classified.report = UpstreamReport {
            provider: std::mem::take(&mut classified.report.provider),
            request_id: classified.report.request_id.take(),
            ..report
        };
        classified.retry_after_ms = classified.retry_after_ms.or_else(|| delay(body));
        classified
    }
}

impl Gemini {
    /// A request for a cached prompt, or about one.
    fn cached_content(&self, target: &Target<'_>, ask: &ModelRequest<'_>) -> Result<Outgoing, Box<Fault>> {
        let mut path = format!("{VERSION}/cachedContents");
        let Some(stored) = ask.request.stored.as_deref() else {
            let encoded =
                compatible::encode_body(target, ask, self.grammars(ask.operation, target.upstream_model))?;
            return Ok(encoded.to(compatible::join(target.base_url, &path), ask));
        };
        path.push('/');
        escape(stored.upstream_id().as_bytes(), b"-_.", &mut path);
        let url = compatible::join(target.base_url, &path);
        let method = match (stored.act, ask.request.cache_life()) {
            (StoredAct::Extend, Some(life)) => {
                let body = vec![Bytes::from(write_cache_change(life))];
                let encoded = EncodedBody { body, ..EncodedBody::empty(Some(Grammar::Gemini)) };
                return Ok(Outgoing { method: Method::PATCH, ..encoded.to(url, ask) });
            }
            (StoredAct::Delete, _) => Method::DELETE,
            _ => Method::GET,
        };
        Ok(compatible::about(ask, method, Grammar::Gemini, url))
    }
}

/// A request about a batch. The batch object contains its results.
fn batch(target: &Target<'_>, ask: &ModelRequest<'_>, stored: &Stored) -> Outgoing {
    let (method, verb) = match stored.act {
        StoredAct::Delete => (Method::DELETE, ""),
        StoredAct::Cancel => (Method::POST, ":cancel"),
        StoredAct::Read
        | StoredAct::Content
        | StoredAct::Continue
        | StoredAct::Make
        | StoredAct::Extend
        | StoredAct::ListInput => (Method::GET, ""),
    };
    let mut path = format!("{VERSION}/batches/");
    escape(stored.upstream_id().as_bytes(), b"-_.", &mut path);
    path.push_str(verb);
    compatible::about(ask, method, Grammar::Gemini, compatible::join(target.base_url, &path))
}

/// The model as a path. Everything except name characters is escaped, so that no name can change the path.
fn resource(model: &str) -> String {
    let has_kind = [PREFIX, "tunedModels/"].iter().any(|kind| model.starts_with(kind));
    let mut path = String::from(if has_kind { "" } else { PREFIX });
    escape(model.as_bytes(), if has_kind { b"-_.@/" } else { b"-_.@" }, &mut path);
    path
}

#[derive(Deserialize)]
struct List {
    models: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct Envelope {
    error: Error,
}

/// A stream answers an error as the single element of its array.
#[derive(Deserialize)]
#[serde(untagged)]
enum Body {
    // First, because serde would otherwise read a one-element array as a struct's fields in order.
    Listed([Envelope; 1]),
    One(Envelope),
}

#[derive(Deserialize)]
struct Error {
    #[serde(default)]
    details: Vec<Detail>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Detail {
    retry_delay: Option<String>,
}

/// The retry delay is in the body; there is no header for it.
fn delay(body: &[u8]) -> Option<u64> {
    let (Body::One(Envelope { error }) | Body::Listed([Envelope { error }])) =
        serde_json::from_slice(body).ok()?;
    error.details.iter().find_map(|detail| delay_ms(detail.retry_delay.as_deref()?))
}

#[cfg(test)]
mod tests {
    use conversation::request::{CacheLife, Request, RequestPart};
    use domain::FaultClass;

    use super::*;

    fn classified(status: u16, body: &'static str) -> Classified {
        Gemini.classify(status, &HeaderMap::new(), &Bytes::from_static(body.as_bytes()), "gemini")
    }

    #[test]
    fn an_address_holds_a_name_and_nothing_else() {
        assert_eq!(resource("gemini-2.5-pro"), "models/gemini-2.5-pro");
        assert_eq!(resource("tunedModels/mine-1"), "tunedModels/mine-1");
        assert_eq!(resource("../secrets?x#y:z"), "models/..%2Fsecrets%3Fx%23y%3Az");
    }

    #[test]
    fn a_batch_is_asked_for_by_its_name_and_a_verb() {
        let request_line = |stored: Option<StoredAct>| {
            let stored = stored.map(|act| Box::new(Stored::new("b/1".to_owned(), act, "x=1".to_owned())));
            let request = conversation::request::Request { stored, ..Default::default() };
            let ask = ModelRequest {
                operation: Operation::Batch,
                grammar: Grammar::Gemini,
                request: &request,
                body: &Bytes::new(),
                native_headers: &[],
                is_lenient: false,
                drops_hosted_tools: false,
                shared_by: None,
                inserts: &[],
                prompt: None,
            };
            let target = Target {
                base_url: "https://a.test",
                upstream_model: "flash",
                hosting: &Hosting::default(),
                abilities: &Default::default,
                quirks: domain::MissingFeatures::default(),
            };
            let outgoing = Gemini.generate(&target, &ask).unwrap();
            format!("{} {}", outgoing.method, outgoing.url)
        };
        let one = "https://a.test/v1beta/batches/b%2F1";
        assert_eq!(request_line(None), "POST https://a.test/v1beta/models/flash:batchGenerateContent");
        assert_eq!(request_line(Some(StoredAct::Read)), format!("GET {one}"));
        assert_eq!(request_line(Some(StoredAct::Content)), format!("GET {one}"));
        assert_eq!(request_line(Some(StoredAct::Delete)), format!("DELETE {one}"));
        assert_eq!(request_line(Some(StoredAct::Cancel)), format!("POST {one}:cancel"));
    }

    #[test]
    fn a_cached_prompt_is_asked_for_by_its_name() {
        let sent = |act: Option<StoredAct>| {
            let stored = act.map(|act| Box::new(Stored::new("c/1".to_owned(), act, String::new())));
            let part = RequestPart::CacheLife(CacheLife::For(600_000));
            let request = Request { stored, part, ..Request::default() };
            let ask = ModelRequest {
                operation: Operation::CachedContent,
                grammar: Grammar::Gemini,
                request: &request,
                body: &Bytes::from_static(b"{}"),
                native_headers: &[],
                is_lenient: false,
                drops_hosted_tools: false,
                shared_by: None,
                inserts: &[],
                prompt: None,
            };
            let target = Target {
                base_url: "https://a.test",
                upstream_model: "flash",
                hosting: &Hosting::default(),
                abilities: &Default::default,
                quirks: domain::MissingFeatures::default(),
            };
            let outgoing = Gemini.generate(&target, &ask).unwrap();
            let body = String::from_utf8(outgoing.body.concat()).unwrap();
            format!("{} {} {body}", outgoing.method, outgoing.url)
        };
        let one = "https://a.test/v1beta/cachedContents/c%2F1";
        assert_eq!(sent(None), "POST https://a.test/v1beta/cachedContents {}");
        assert_eq!(sent(Some(StoredAct::Read)), format!("GET {one} "));
        assert_eq!(sent(Some(StoredAct::Delete)), format!("DELETE {one} "));
        assert_eq!(sent(Some(StoredAct::Extend)), format!("PATCH {one} {{\"ttl\":\"600.000s\"}}"));
    }

    #[test]
    fn what_it_says_decides() {
        let key = r#"{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID"}]}}"#;
        let refused = classified(400, key);
        assert_eq!((refused.class, refused.report.message), (FaultClass::UpstreamAuth, None));
        let limited = r#"[{"error":{"code":429,"message":"Quota","status":"RESOURCE_EXHAUSTED","details":[{"@type":"x","retryDelay":"34.07s"}]}}]"#;
        let limited = classified(429, limited);
        assert_eq!((limited.class, limited.retry_after_ms), (FaultClass::RateLimit, Some(34_070)));
        assert_eq!(limited.report.code.as_deref(), Some("RESOURCE_EXHAUSTED"));
        let daily = r#"{"error":{"code":429,"message":"Quota","status":"RESOURCE_EXHAUSTED","details":[{"violations":[{"quotaId":"RequestsPerDayPerProject"}]}]}}"#;
        assert_eq!(classified(429, daily).class, FaultClass::UpstreamQuota);
        let long = r#"{"error":{"code":400,"message":"The input token count (9) exceeds the maximum number of tokens allowed (8).","status":"INVALID_ARGUMENT"}}"#;
        assert_eq!(classified(400, long).class, FaultClass::ContextLength);
        assert_eq!(
            classified(503, r#"{"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}"#).class,
            FaultClass::Overloaded
        );
        assert_eq!(classified(502, "<html>").class, FaultClass::Upstream);
    }

    #[test]
    fn models_are_listed_by_their_names() {
        let body = Bytes::from_static(br#"{"models":[{"name":"models/a"},{"name":"tunedModels/b"}]}"#);
        assert_eq!(Gemini.read_models(&body), Some(vec!["a".to_owned(), "tunedModels/b".to_owned()]));
        assert_eq!(Gemini.read_models(&Bytes::from_static(b"<html>")), None);
    }
}
