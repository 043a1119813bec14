//! Shared by OpenAI-compatible servers: paths, headers, body edits and the model list.

use bytes::Bytes;
use chat::{SupportedFields, adapt_body, adapt_written_body};
use conversation::embed::EmbeddingInputs;
use conversation::losses::DroppedFields;
use conversation::request::{Stored, StoredAct, upstream_body_with};
use conversation::target::{TargetModel, TranslatedRequest};
use dialects::{
    feature_names, read_embedding_inputs, translate_embeddings, translate_request, write_count_request,
};
use domain::{Fault, FaultClass, Grammar, MissingFeatures, Operation, ServerFeature};
use http::Method;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderValue, USER_AGENT};
use json::{Cursor, JsonError, Kind, Value};
use operations::ContentType;

use crate::escape::{UNRESERVED, escape};
use crate::{ModelRequest, Outgoing, Target};

const AGENT: HeaderValue = HeaderValue::from_static(concat!("tidegate/", env!("CARGO_PKG_VERSION")));
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The query by which a client requests the video itself, if it sends one.
const WHOLE_VIDEO: &str = "variant=video";

const CHAT: &[Grammar] = &[Grammar::Chat];
const RESPONSES: &[Grammar] = &[Grammar::Responses];

/// The wire formats of OpenAI-compatible servers by operation; conversations use those in `native`.
pub(crate) fn grammars(operation: Operation, native: &'static [Grammar]) -> &'static [Grammar] {
    match operation {
        Operation::Chat | Operation::Run | Operation::Verify => native,
        Operation::Embed | Operation::Complete => CHAT,
        Operation::Stored if native.contains(&Grammar::Responses) => RESPONSES,
        _ => &[],
    }
}

/// A request to a server that speaks `native`: in the client's format if it is one of these, or else in the
/// first.
pub(crate) fn generate(
    target: &Target<'_>,
    ask: &ModelRequest<'_>,
    native: &[Grammar],
) -> Result<Outgoing, Box<Fault>> {
    generate_at(target, ask, native, |path| join(target.base_url, path))
}

/// The same for a provider with documented deviations from the format (`supported`).
pub(crate) fn generate_for(
    target: &Target<'_>,
    ask: &ModelRequest<'_>,
    native: &[Grammar],
    supported: &SupportedFields,
) -> Result<Outgoing, Box<Fault>> {
    generate_of(target, ask, native, supported, |path| join(target.base_url, path))
}

/// Like `generate`, at addresses that `at` makes from the usual paths.
pub(crate) fn generate_at(
    target: &Target<'_>,
    ask: &ModelRequest<'_>,
    native: &[Grammar],
    at: impl Fn(&str) -> String,
) -> Result<Outgoing, Box<Fault>> {
    generate_of(target, ask, native, &SupportedFields::COMMON, at)
}

fn generate_of(
    target: &Target<'_>,
    ask: &ModelRequest<'_>,
    native: &[Grammar],
    supported: &SupportedFields,
    at: impl Fn(&str) -> String,
) -> Result<Outgoing, Box<Fault>> {
    let is_made = |stored: &Stored| matches!(stored.act, StoredAct::Continue | StoredAct::Make);
    if let Some(stored) = ask.request.stored.as_deref().filter(|stored| !is_made(stored)) {
        return Ok(stored_request(ask, stored, at));
    }
    if ask.operation == Operation::Realtime {
        return call(target, ask, native, at);
    }
    let encoded = encode_for(target, ask, native, supported)?;
    if let (Operation::Video, Some(video)) = (ask.operation, &ask.request.stored) {
        return Ok(encoded.to(at(&format!("videos/{}/remix", video.upstream_id())), ask));
    }
    let path = match (ask.operation, encoded.grammar) {
        (Operation::Embed, _) => "embeddings",
        (Operation::Moderate, _) => "moderations",
        (Operation::Images, _) => "images/generations",
        (Operation::Speech, _) => "audio/speech",
        (Operation::Rerank, _) => "rerank",
        (Operation::Transcribe, _) => "audio/transcriptions",
        (Operation::Translate, _) => "audio/translations",
        (Operation::ImageEdits, _) => "images/edits",
        (Operation::ImageVariations, _) => "images/variations",
        (Operation::Complete, _) => "completions",
        (Operation::File, _) => "files",
        (Operation::Batch, _) => "batches",
        (Operation::Video, _) => "videos",
        (Operation::Count, _) => "responses/input_tokens",
        (_, Some(Grammar::Responses)) => "responses",
        (_, Some(Grammar::Anthropic)) => "messages",
        (_, _) => "chat/completions",
    };
    Ok(encoded.to(at(path), ask))
}

/// Opens a realtime session. Only its address says anything about it.
fn call(
    target: &Target<'_>,
    ask: &ModelRequest<'_>,
    native: &[Grammar],
    at: impl Fn(&str) -> String,
) -> Result<Outgoing, Box<Fault>> {
    if !native.contains(&ask.grammar) {
        return Err(unsupported_operation(ask.operation));
    }
    let mut path = "realtime?model=".to_owned();
    escape(target.upstream_model.as_bytes(), UNRESERVED, &mut path);
    let mut headers = vec![(USER_AGENT, AGENT)];
    headers.extend_from_slice(ask.native_headers);
    Ok(Outgoing::without_body(Method::GET, at(&path), headers))
}

/// A request about a stored response, file, batch or video.
fn stored_request(ask: &ModelRequest<'_>, stored: &Stored, at: impl Fn(&str) -> String) -> Outgoing {
    let (collection, grammar) = match ask.operation {
        Operation::File => ("files", Grammar::Chat),
        Operation::Batch => ("batches", Grammar::Chat),
        Operation::Video => ("videos", Grammar::Chat),
        _ => ("responses", Grammar::Responses),
    };
    stored_request_at(ask, stored, collection, "/content", grammar, at)
}

/// The same, for objects under `place` whose content is at `content` below them.
pub(crate) fn stored_request_at(
    ask: &ModelRequest<'_>,
    stored: &Stored,
    collection: &str,
    content: &str,
    grammar: Grammar,
    at: impl Fn(&str) -> String,
) -> Outgoing {
    let (method, below) = match stored.act {
        StoredAct::Read | StoredAct::Continue | StoredAct::Make | StoredAct::Extend => (Method::GET, ""),
        StoredAct::Content => (Method::GET, content),
        StoredAct::Delete => (Method::DELETE, ""),
        StoredAct::Cancel => (Method::POST, "/cancel"),
        StoredAct::ListInput => (Method::GET, "/input_items"),
    };
    let question = if stored.query.is_empty() { "" } else { "?" };
    let path = format!("{collection}/{}{below}{question}{}", stored.upstream_id(), stored.query);
    about(ask, method, grammar, at(&path))
}

/// A request about a stored object, without a body.
pub(crate) fn about(ask: &ModelRequest<'_>, method: Method, grammar: Grammar, url: String) -> Outgoing {
    let mut outgoing = EncodedBody::empty(Some(grammar)).to(url, ask);
    outgoing.headers.retain(|(name, _)| *name != CONTENT_TYPE);
    Outgoing { method, ..outgoing }
}

/// A request body, in a format that the upstream speaks.
pub(crate) struct EncodedBody {
    /// `None` in a format of the vendor's own.
    pub grammar: Option<Grammar>,
    pub body: Vec<Bytes>,
    pub dropped: Vec<String>,
}

/// The client's own bytes, edited, if the upstream speaks the client's format; otherwise a translation into
/// the first format that it speaks. Fails if it speaks none.
pub(crate) fn encode_body(
    target: &Target<'_>,
    ask: &ModelRequest<'_>,
    native: &[Grammar],
) -> Result<EncodedBody, Box<Fault>> {
    encode_for(target, ask, native, &SupportedFields::COMMON)
}

fn encode_for(
    target: &Target<'_>,
    ask: &ModelRequest<'_>,
    native: &[Grammar],
    supported: &SupportedFields,
) -> Result<EncodedBody, Box<Fault>> {
    let quirks = quirks_for(ask.operation, target.quirks, supported);
    if native.contains(&ask.grammar) {
        let model = target.upstream_model;
        let (body, dropped) = if quirks.is_none() {
            (upstream_body_with(ask.body, ask.request, model, true, ask.inserts), Vec::new())
        } else {
            adapt(model, ask, quirks, supported)?
        };
        return Ok(EncodedBody { grammar: Some(ask.grammar), body, dropped });
    }
    let grammar = *native.first().ok_or_else(|| unsupported_operation(ask.operation))?;
    let model = target.upstream_model;
    let translated = match ask.operation {
        Operation::Chat | Operation::Run | Operation::Count => {
            let listener = TargetModel { model, abilities: (target.abilities)() };
            let prompt = ask.prompt.ok_or_else(|| Box::new(Fault::internal()))?;
            let translate =
                if ask.operation == Operation::Count { write_count_request } else { translate_request };
            translate(ask.grammar, prompt, grammar, &listener, ask.is_lenient)?
        }
        Operation::Embed => {
            translate_embeddings(ask.grammar, ask.body, ask.request, grammar, model, ask.is_lenient)?
        }
        // Only one format can express the others.
        _ => return Err(unsupported_operation(ask.operation)),
    };
    let mut encoded = EncodedBody { grammar: Some(grammar), ..EncodedBody::own(translated) };
    if !quirks.is_none() {
        let mut losses = DroppedFields::of_server(ask.grammar, feature_names);
        encoded.body = adapt_written_body(&encoded.body.concat().into(), quirks, supported, &mut losses)?;
        let lost = losses.finish(ask.is_lenient)?;
        let lost: Vec<String> = lost.into_iter().filter(|name| !encoded.dropped.contains(name)).collect();
        encoded.dropped.extend(lost);
    }
    Ok(encoded)
}

/// The client's own bytes, without what the server does not support.
fn adapt(
    model: &str,
    ask: &ModelRequest<'_>,
    quirks: MissingFeatures,
    supported: &SupportedFields,
) -> Result<(Vec<Bytes>, Vec<String>), Box<Fault>> {
    let mut losses = DroppedFields::of_server(ask.grammar, feature_names);
    if ask.drops_hosted_tools {
        losses.allow_lost_tools();
    }
    let body = adapt_body(ask.body, ask.request, model, quirks, supported, &mut losses, ask.inserts)?;
    Ok((body, losses.finish(ask.is_lenient)?))
}

/// The server's limitations that can matter for this operation.
fn quirks_for(operation: Operation, quirks: MissingFeatures, supported: &SupportedFields) -> MissingFeatures {
    match operation {
        Operation::Chat | Operation::Run => quirks,
        Operation::Embed if supported.fields.contains(&"input") => MissingFeatures::default()
            .lacking(ServerFeature::UnknownFields)
            .lacking(ServerFeature::StreamOptions),
        // Only for providers that list the fields that they accept.
        Operation::Rerank if supported.fields.contains(&"query") => {
            MissingFeatures::default().lacking(ServerFeature::UnknownFields)
        }
        Operation::Complete if quirks.lacks(ServerFeature::StreamOptions) => {
            MissingFeatures::default().lacking(ServerFeature::StreamOptions)
        }
        _ => MissingFeatures::default(),
    }
}

/// Texts to embed, in a format of the vendor's own that `write` writes; `has_tasks` where it has task types.
pub(crate) fn encode_embeddings(
    ask: &ModelRequest<'_>,
    has_tasks: bool,
    write: impl FnOnce(&EmbeddingInputs<'_>) -> Result<Vec<u8>, Box<Fault>>,
) -> Result<EncodedBody, Box<Fault>> {
    let mut losses = DroppedFields::of_vendor(ask.grammar, feature_names);
    let texts = read_embedding_inputs(ask.grammar, ask.body, ask.request, has_tasks, &mut losses)?;
    let body = Bytes::from(write(&texts)?);
    Ok(EncodedBody::own(TranslatedRequest { body, dropped: losses.finish(ask.is_lenient)? }))
}

/// The fault for an operation that the provider does not support.
pub fn unsupported_operation(operation: Operation) -> Box<Fault> {
    operations::of(operation).unsupported()
}

impl EncodedBody {
    /// A body in a format of the vendor's own.
    pub(crate) fn own(translated: TranslatedRequest) -> Self {
        Self { grammar: None, body: vec![translated.body], dropped: translated.dropped }
    }

    pub(crate) const fn empty(grammar: Option<Grammar>) -> Self {
        Self { grammar, body: Vec::new(), dropped: Vec::new() }
    }

    /// The request with this body, to a URL.
    pub(crate) fn to(self, url: String, ask: &ModelRequest<'_>) -> Outgoing {
        // Leaves space for the authentication headers.
        let mut headers = Vec::with_capacity(5);
        let own_type = ask.request.form().map(|form| HeaderValue::try_from(form.content_type()));
        let content_type = own_type.and_then(Result::ok).unwrap_or(JSON);
        headers.extend([(CONTENT_TYPE, content_type), (USER_AGENT, AGENT)]);
        if ask.request.stream {
            // Audio comes in whatever format was requested.
            let is_plain = operations::of(ask.operation).facts().content_type == ContentType::Forwarded;
            let form = if is_plain { "*/*" } else { "text/event-stream" };
            headers.push((ACCEPT, HeaderValue::from_static(form)));
            // Compression would delay a stream's events.
            headers.push((ACCEPT_ENCODING, HeaderValue::from_static("identity")));
        } else {
            // A form's answer may be plain text.
            let is_form = ask.request.form().is_some();
            headers.push((ACCEPT, if is_form { HeaderValue::from_static("*/*") } else { JSON }));
        }
        if self.grammar == Some(ask.grammar) {
            headers.extend_from_slice(ask.native_headers);
        }
        let Self { grammar, body, dropped } = self;
        Outgoing { method: Method::POST, url, headers, body, grammar, answer: None, dropped }
    }

    /// The same where the client's form was translated to JSON.
    pub(crate) fn into_document(self, url: String, ask: &ModelRequest<'_>) -> Outgoing {
        let mut outgoing = self.to(url, ask);
        let types = outgoing.headers.iter_mut().filter(|(name, _)| *name == CONTENT_TYPE);
        types.for_each(|(_, value)| *value = JSON);
        outgoing
    }
}

/// Checks a request about a video at a provider that stores only the video itself: no thumbnails, no remixes.
///
/// # Errors
/// The request is for something else.
pub(crate) fn require_plain_video(video: &Stored) -> Result<(), Box<Fault>> {
    if video.act == StoredAct::Make {
        let message = "The model of this video makes no video of another one.";
        let fault = Fault::new(FaultClass::Unsupported, "unsupported_operation", message);
        return Err(Box::new(fault.fix("Send the whole prompt to /v1/videos.")));
    }
    if !["", WHOLE_VIDEO].contains(&video.query.as_str()) {
        let message = "This video has no content but the video itself.";
        let fault = Fault::new(FaultClass::Unsupported, "unsupported_value", message);
        return Err(Box::new(fault.param("variant").fix("Leave \"variant\" out.")));
    }
    Ok(())
}

pub(crate) fn video_not_found() -> Box<Fault> {
    Box::new(Fault::new(FaultClass::NotFound, "video_not_found", "This video doesn't exist here."))
}

pub(crate) fn list_models(base_url: &str) -> Outgoing {
    read_at(base_url, "models")
}

/// A GET of a path below the server's address.
pub(crate) fn read_at(base_url: &str, path: &str) -> Outgoing {
    let headers = vec![(ACCEPT, JSON), (USER_AGENT, AGENT)];
    Outgoing::without_body(Method::GET, join(base_url, path), headers)
}

/// A management request to a Tidegate runtime: a path below its address, or what it publishes of its load, which is one
/// level above.
pub fn ask_runtime(base_url: &str, method: Method, path: &str, body: Option<Bytes>) -> Outgoing {
    let base = base_url.trim_end_matches('/');
    let is_above = [RUNTIME_COUNTS, RUNTIME_SLOTS].contains(&path);
    let base = if is_above { base.strip_suffix("/v1").unwrap_or(base) } else { base };
    let mut outgoing = read_at(base, path);
    outgoing.method = method;
    if path == RUNTIME_COUNTS {
        outgoing.headers.retain(|(name, _)| *name != ACCEPT);
    }
    if let Some(body) = body {
        outgoing.headers.push((CONTENT_TYPE, JSON));
        outgoing.body = vec![body];
    }
    outgoing
}

/// The path of a Tidegate runtime's metrics.
pub const RUNTIME_COUNTS: &str = "metrics";
/// The path of the slots of llama.cpp's server.
const RUNTIME_SLOTS: &str = "slots";

/// Reads `{"data": [{"id"}]}`, or the bare array that some servers send.
pub(crate) fn read_models(body: &Bytes) -> Option<Vec<String>> {
    read_list(body).ok().flatten()
}

fn read_list(body: &[u8]) -> Result<Option<Vec<String>>, JsonError> {
    let mut cursor = Cursor::new(body)?;
    let mut models = None;
    match cursor.kind()? {
        Kind::Array => models = Some(read_rows(&mut cursor)?),
        Kind::Object => {
            cursor.object(|cursor, member| {
                if member.key.is("data") && cursor.kind()? == Kind::Array {
                    models = Some(read_rows(cursor)?);
                } else {
                    cursor.skip()?;
                }
                Ok::<(), JsonError>(())
            })?;
        }
        _ => return Ok(None),
    }
    cursor.end()?;
    Ok(models)
}

fn read_rows(cursor: &mut Cursor<'_>) -> Result<Vec<String>, JsonError> {
    let mut models = Vec::new();
    cursor.array(|cursor, _| {
        if cursor.kind()? != Kind::Object {
            return cursor.ignore();
        }
        cursor.object(|cursor, member| {
            match cursor.value()? {
                Value::String(id) if member.key.is("id") => models.push(id.decode().into_owned()),
                _ => {}
            }
            Ok::<(), JsonError>(())
        })?;
        Ok(())
    })?;
    Ok(models)
}

pub(crate) fn join(base_url: &str, path: &str) -> String {
    let base = base_url.trim_end_matches('/');
    let mut url = String::with_capacity(base.len() + 1 + path.len());
    url.push_str(base);
    url.push('/');
    url.push_str(path);
    url
}

#[cfg(test)]
mod tests {
    use chat::decode_request;

    use super::*;

    #[test]
    fn a_runtime_is_asked_below_its_address_and_for_its_counts_above_it() {
        let url = |path| ask_runtime("http://host:8080/v1/", Method::GET, path, None).url;
        assert_eq!(url("adapters/status"), "http://host:8080/v1/adapters/status");
        assert_eq!(url(RUNTIME_COUNTS), "http://host:8080/metrics");
        assert_eq!(url(RUNTIME_SLOTS), "http://host:8080/slots");
        let outgoing =
            ask_runtime("http://host/v1", Method::POST, "adapters", Some(Bytes::from_static(b"{}")));
        assert!(outgoing.headers.iter().any(|(name, _)| *name == CONTENT_TYPE) && outgoing.body == ["{}"]);
    }

    #[test]
    fn no_path_is_doubled_and_none_is_lost() {
        assert_eq!(join("https://host/v1", "models"), "https://host/v1/models");
        assert_eq!(join("https://host/v1/", "models"), "https://host/v1/models");
    }

    #[test]
    fn a_request_is_renamed_and_asked_for_usage_and_loses_what_its_route_lets_go() {
        let body = Bytes::from_static(
            br#"{"model":"a/b","stream":true,"messages":[{"role":"user","content":"x"}]}"#,
        );
        let request = decode_request(&body).expect("a valid request");
        let target = Target {
            base_url: "http://host/v1/",
            upstream_model: "b",
            abilities: &Default::default,
            hosting: &domain::hosting::PLAIN,
            quirks: MissingFeatures::default(),
        };
        let ask = ModelRequest {
            operation: Operation::Chat,
            grammar: Grammar::Chat,
            request: &request,
            body: &body,
            native_headers: &[],
            is_lenient: false,
            drops_hosted_tools: false,
            shared_by: None,
            inserts: &[],
            prompt: None,
        };
        let outgoing = generate(&target, &ask, &[Grammar::Chat]).expect("nothing to translate");
        assert_eq!(outgoing.url, "http://host/v1/chat/completions");
        assert!(outgoing.headers.contains(&(ACCEPT_ENCODING, HeaderValue::from_static("identity"))));
        let sent = outgoing.body.concat();
        assert_eq!(
            String::from_utf8_lossy(&sent),
            r#"{"stream_options":{"include_usage":true},"model":"b","stream":true,"messages":[{"role":"user","content":"x"}]}"#
        );
        // A tool that is a field, to a server that may not know it.
        let body = Bytes::from_static(
            br#"{"model":"b","messages":[{"role":"user","content":"x"}],"web_search_options":{"search_context_size":"low"}}"#,
        );
        let request = decode_request(&body).expect("a valid request");
        let target = Target { quirks: target.quirks.lacking(ServerFeature::UnknownFields), ..target };
        let ask = ModelRequest { request: &request, body: &body, ..ask };
        let fault = generate(&target, &ask, &[Grammar::Chat]).expect_err("it would be lost");
        assert_eq!(fault.param.as_deref(), Some("web_search_options"));
        let ask = ModelRequest { drops_hosted_tools: true, ..ask };
        let outgoing = generate(&target, &ask, &[Grammar::Chat]).expect("its route lets it go");
        assert_eq!(outgoing.dropped, ["web_search_options"]);
    }

    #[test]
    fn an_answer_that_was_made_before_is_asked_for_by_its_id() {
        let (body, native) = (Bytes::new(), &[Grammar::Chat, Grammar::Responses]);
        for (act, query, expected) in [
            (StoredAct::Read, "", "GET http://host/v1/responses/resp_1"),
            (
                StoredAct::Read,
                "include[]=a&stream=true",
                "GET http://host/v1/responses/resp_1?include[]=a&stream=true",
            ),
            (StoredAct::Delete, "", "DELETE http://host/v1/responses/resp_1"),
            (StoredAct::Cancel, "", "POST http://host/v1/responses/resp_1/cancel"),
            (
                StoredAct::ListInput,
                "limit=2&order=asc",
                "GET http://host/v1/responses/resp_1/input_items?limit=2&order=asc",
            ),
        ] {
            let stored = Stored::new("resp_1".to_owned(), act, query.to_owned());
            let request =
                conversation::request::Request { stored: Some(Box::new(stored)), ..Default::default() };
            let target = Target {
                base_url: "http://host/v1",
                upstream_model: "m",
                abilities: &Default::default,
                hosting: &domain::hosting::PLAIN,
                quirks: MissingFeatures::default(),
            };
            let ask = ModelRequest {
                operation: Operation::Stored,
                grammar: Grammar::Responses,
                request: &request,
                body: &body,
                inserts: &[],
                native_headers: &[],
                is_lenient: false,
                drops_hosted_tools: false,
                shared_by: None,
                prompt: None,
            };
            let outgoing = generate(&target, &ask, native).expect("nothing to translate");
            assert_eq!(format!("{} {}", outgoing.method, outgoing.url), expected);
            assert!(
                outgoing.body.is_empty() && outgoing.headers.iter().all(|(name, _)| name != CONTENT_TYPE)
            );
        }
    }

    #[test]
    fn what_a_provider_does_not_do_is_said_in_words() {
        use crate::provider;
        let does = |slug, operation| {
            let provider = provider(slug);
            !provider.grammars(operation, "m").is_empty() || provider.has_own_format(operation, "m")
        };
        assert!(does("openai", Operation::Moderate) && !does("together_ai", Operation::Moderate));
        assert!(does("together_ai", Operation::Rerank) && !does("openai", Operation::Rerank));
        assert!(does("azure_openai", Operation::Speech) && !does("nebius", Operation::Speech));
        assert!(does("azure_openai", Operation::ImageEdits) && !does("together_ai", Operation::ImageEdits));
        assert!(
            does("openai", Operation::ImageVariations) && !does("azure_openai", Operation::ImageVariations)
        );
        assert!(does("nebius", Operation::Images) && !does("anthropic", Operation::Images));
        assert!(does("gemini", Operation::Embed) && !does("anthropic", Operation::Embed));
        assert!(does("openai", Operation::Count) && !does("xai", Operation::Count));
        let (body, request) = (Bytes::from_static(b"{}"), conversation::request::Request::default());
        let target = Target {
            base_url: "http://host",
            upstream_model: "m",
            abilities: &Default::default,
            hosting: &domain::hosting::PLAIN,
            quirks: MissingFeatures::default(),
        };
        for (operation, words) in [
            (Operation::Embed, "has no way to make vectors of texts."),
            (Operation::Moderate, "has no way to judge texts."),
            (Operation::Images, "has no way to make pictures."),
            (Operation::ImageEdits, "has no way to edit pictures."),
            (Operation::ImageVariations, "has no way to vary pictures."),
            (Operation::Speech, "has no way to read texts aloud."),
            (Operation::Rerank, "has no way to put texts in the order of a question."),
            (Operation::Complete, "has no way to go on with a text that isn't a conversation."),
        ] {
            let ask = ModelRequest {
                operation,
                grammar: Grammar::Chat,
                request: &request,
                body: &body,
                native_headers: &[],
                is_lenient: false,
                drops_hosted_tools: false,
                shared_by: None,
                inserts: &[],
                prompt: None,
            };
            let fault = provider("anthropic").generate(&target, &ask).expect_err(words);
            assert_eq!((fault.class, fault.code), (FaultClass::Unsupported, "unsupported_operation"));
            assert!(fault.to_string().contains(words), "{fault}");
            assert!(fault.fix.is_some() && fault.param.as_deref() == Some("model"), "{fault}");
        }
    }

    #[test]
    fn model_lists_of_both_shapes() {
        let read = |body: &'static str| read_models(&Bytes::from_static(body.as_bytes()));
        let both = Some(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(read(r#"{"object":"list","data":[{"id":"a"},{"id":"b","owned_by":"x"}]}"#), both);
        assert_eq!(read(r#"[{"id":"a"},{"id":"b"}]"#), both);
        assert_eq!(read(r#"{"data":[]}"#), Some(Vec::new()));
        for wrong in ["", "<html>", "{}", "5", r#"{"data":[{"id":"a"}]"#] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
