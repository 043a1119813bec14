//! What later stages need to know about a request in any dialect, and its bytes edited for an upstream of the
//! same dialect.

use std::borrow::Cow;

use bytes::Bytes;
use domain::limits::END_USER_BYTES_MAX;
use domain::{PriceTerms, StoredKind, StoredObjectKind, Units};
use json::members::with_first;
use json::splice::{Edit, splice};
use json::{Cursor, Span, Value, find_member, plain_end};

use crate::batch::BatchModels;
use crate::form::Form;

/// What later stages need to know about a request; everything else stays in the body's bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    pub model: String,
    pub stream: bool,
    /// The client requested usage in the stream. Dialects that always report it need no such request.
    pub include_usage: bool,
    /// The stream is one growing JSON array instead of events (Gemini without `alt=sse`).
    pub as_array: bool,
    pub max_output_tokens: Option<u64>,
    /// The number of choices requested.
    pub choices: u32,
    /// Bytes of text in the prompt, for estimates.
    pub prompt_bytes: u64,
    /// Billed units that the request itself determines: images, characters, an upper bound of searches.
    pub units: Units,
    /// The requested service tier, and the hosted tools that it offers the model.
    pub terms: PriceTerms,
    /// It offers the model tools.
    pub has_tools: bool,
    /// The answer may be sound.
    pub speaks: bool,
    /// What only some operations have.
    pub part: RequestPart,
    /// The stored response that the request is about or continues.
    pub stored: Option<Box<Stored>>,
    /// Whether the provider is to store the answer.
    pub stores_answer: bool,
    /// Background mode: the client does not wait for the answer, and polls for it later.
    pub is_background: bool,
    /// Files and cached prompts that it names by id, in the order of the body.
    pub files: Vec<NamedFile>,
    /// Where in the body stands what is edited or read again.
    pub spans: RequestSpans,
}

/// Where a request's body has what later stages edit or read again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequestSpans {
    /// The model's name; `None` where the address has it.
    pub model: Option<Span>,
    /// The end user's id.
    pub end_user: Option<Span>,
    /// What repeats the model of the address.
    pub resources: Vec<Span>,
    /// The prompt, where it is not the whole body.
    pub prompt: Option<Span>,
    /// The edit that requests usage from the upstream; `None` where it is reported anyway.
    pub usage: Option<(Span, &'static str)>,
    /// What requests encrypted reasoning.
    pub encrypted_reasoning: Option<Span>,
    /// Parts that we wrote into an earlier answer of this conversation, and that an upstream of the same
    /// dialect refuses.
    pub removed: Vec<Span>,
}

/// What a request of one operation has, and others have not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum RequestPart {
    #[default]
    None,
    /// The format of the vectors to make.
    Vectors(VectorForm),
    /// The body is a multipart form, not JSON.
    Form(Box<Form>),
    /// The models of a batch whose requests are in its body.
    Batch(Box<BatchModels>),
    /// The span of the id of the file that holds a batch's requests.
    BatchFile(Span),
    /// How long the prompt in the body, or the one that the address names, is to be cached.
    CacheLife(CacheLife),
}

/// How long a prompt is to be cached by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheLife {
    /// For so many milliseconds.
    For(u64),
    /// Until this Unix time in milliseconds.
    Until(u64),
}

impl CacheLife {
    /// The time from `now_unix_ms` on.
    pub const fn ms_from(self, now_unix_ms: u64) -> u64 {
        match self {
            Self::For(ms) => ms,
            Self::Until(unix_ms) => unix_ms.saturating_sub(now_unix_ms),
        }
    }
}

/// A file or cached prompt that a conversation names by its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFile {
    /// As the client wrote it.
    pub id: String,
    /// Its path in the request.
    pub path: String,
    /// The id was replaced by the provider's.
    pub is_exchanged: bool,
    /// The string of which the provider's id takes the place: all of it, or its end.
    pub span: Span,
}

impl NamedFile {
    /// The id has the form of those that Tidegate issues.
    pub fn is_ours(&self) -> bool {
        let is_file =
            |kind: StoredObjectKind| kind.kind() == StoredKind::File && self.id.starts_with(kind.prefix());
        StoredObjectKind::all().any(is_file) || self.is_our_cached_content()
    }

    /// It is a cached prompt, named by an id of ours.
    pub fn is_our_cached_content(&self) -> bool {
        self.id.starts_with(StoredObjectKind::CACHED_CONTENT.prefix())
    }
}

/// The format of embedding vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VectorForm {
    /// Base64 of little-endian `f32`s instead of numbers.
    pub as_base64: bool,
    /// A list instead of a single vector.
    pub is_batch: bool,
}

/// A stored response or other stored object, and what to do with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The id that the client uses.
    pub id: String,
    pub act: StoredAct,
    /// The query string, as written.
    pub query: String,
    /// The provider's id, where the client uses one of ours.
    pub provider_object_id: Option<String>,
    /// When its provider deletes it, if known.
    pub until_unix_ms: Option<u64>,
}

impl Stored {
    pub const fn new(id: String, act: StoredAct, query: String) -> Self {
        Self { id, act, query, provider_object_id: None, until_unix_ms: None }
    }

    /// Its id in requests to the provider.
    pub fn upstream_id(&self) -> &str {
        self.provider_object_id.as_deref().unwrap_or(&self.id)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredAct {
    /// A new response continues it.
    Continue,
    /// A new object is derived from it.
    Make,
    Read,
    /// Its content.
    Content,
    Delete,
    Cancel,
    /// The time until which it is kept is changed.
    Extend,
    /// Its input items.
    ListInput,
}

/// Text to insert into a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Insert {
    /// The span that it replaces; usually empty.
    span: Span,
    text: Cow<'static, str>,
}

/// What a request's address says, in dialects that put it there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Addressed {
    pub model: String,
    pub stream: bool,
    /// The stream is one growing JSON array instead of events.
    pub as_array: bool,
    /// The body holds several requests.
    pub is_batch: bool,
    /// The body is in the format of the model's vendor, which does not name the model.
    pub is_invoked: bool,
    /// The stored object that the address names.
    pub stored: Option<Stored>,
    /// Bytes of earlier text, where the request itself holds none.
    pub prompt_bytes: u64,
    /// The provider that is to store what is sent.
    pub provider: Option<String>,
}

impl Request {
    /// A request that names only a model.
    pub fn of_model(model: &str) -> Self {
        Self { model: model.to_owned(), choices: 1, ..Self::default() }
    }

    /// A request about a stored object.
    pub fn about(stored: Stored) -> Self {
        Self {
            stream: stored.act == StoredAct::Content,
            max_output_tokens: Some(0),
            choices: 1,
            stored: Some(Box::new(stored)),
            ..Self::default()
        }
    }

    /// Whether its prompt goes on from one that is cached under an id of ours.
    pub fn names_cached_content(&self) -> bool {
        self.files.iter().any(NamedFile::is_our_cached_content)
    }

    /// How long a prompt is to be cached.
    pub const fn cache_life(&self) -> Option<CacheLife> {
        match self.part {
            RequestPart::CacheLife(life) => Some(life),
            _ => None,
        }
    }

    /// The format of the vectors to make.
    pub fn vectors(&self) -> VectorForm {
        match self.part {
            RequestPart::Vectors(form) => form,
            _ => VectorForm::default(),
        }
    }

    pub fn form(&self) -> Option<&Form> {
        match &self.part {
            RequestPart::Form(form) => Some(form),
            _ => None,
        }
    }

    /// The models of a batch whose requests are in its body.
    pub fn batch(&self) -> Option<&BatchModels> {
        match &self.part {
            RequestPart::Batch(batch) => Some(batch),
            _ => None,
        }
    }

    pub fn batch_mut(&mut self) -> Option<&mut BatchModels> {
        match &mut self.part {
            RequestPart::Batch(batch) => Some(batch),
            _ => None,
        }
    }

    /// The same request without asking for encrypted reasoning, which OpenAI may refuse for models that do
    /// not reason, and the name of the dropped field. `None` where it was not requested.
    pub fn without_encrypted_reasoning(&self) -> Option<(Self, &'static str)> {
        let span = self.spans.encrypted_reasoning?;
        let mut request = self.clone();
        request.spans.removed.push(span);
        Some((request, "include"))
    }

    /// The client's end user, cut to the stored length; `body` is the body that was decoded.
    pub fn end_user(&self, body: &[u8]) -> Option<String> {
        let Ok(Value::String(text)) = Cursor::new(self.spans.end_user?.of(body)).ok()?.value() else {
            return None;
        };
        let mut text = text.decode().into_owned();
        text.truncate(text.floor_char_boundary(END_USER_BYTES_MAX));
        Some(text)
    }
}

impl Insert {
    pub fn at(at: usize, text: impl Into<Cow<'static, str>>) -> Self {
        Self::instead(Span::new(at, at), text)
    }

    pub fn instead(span: Span, text: impl Into<Cow<'static, str>>) -> Self {
        Self { span, text: text.into() }
    }

    pub fn edit(&self) -> Edit<'_> {
        Edit { span: self.span, text: Cow::Borrowed(&*self.text) }
    }
}

/// The client's bytes for an upstream of the same dialect: the model is renamed, and usage is requested where
/// `ask_usage` is set and the answer is a stream. Large bodies are sliced, not copied.
pub fn upstream_body(body: &Bytes, request: &Request, upstream_model: &str, ask_usage: bool) -> Vec<Bytes> {
    upstream_body_with(body, request, upstream_model, ask_usage, &[])
}

/// The same with further inserts.
pub fn upstream_body_with(
    body: &Bytes,
    request: &Request,
    upstream_model: &str,
    ask_usage: bool,
    inserts: &[Insert],
) -> Vec<Bytes> {
    match &request.part {
        RequestPart::Form(form) => return form.upstream_body(body, upstream_model),
        RequestPart::Batch(batch) => return batch.upstream_body(body),
        RequestPart::BatchFile(span) if let Some(stored) = request.stored.as_deref() => {
            let mut out = Vec::with_capacity(1);
            splice(body, &mut [rename_at(*span, stored.upstream_id())], &mut out);
            return out;
        }
        RequestPart::None
        | RequestPart::Vectors(_)
        | RequestPart::BatchFile(_)
        | RequestPart::CacheLife(_) => {}
    }
    let (rename, usage) = own_edits(request, upstream_model, ask_usage);
    let mut out = Vec::with_capacity(1);
    let RequestSpans { removed, resources, .. } = &request.spans;
    if !removed.is_empty() || !resources.is_empty() || !inserts.is_empty() {
        let cuts = removed.iter().map(|span| Edit::cut(*span));
        let resource = resource_text(upstream_model);
        let others = resources.iter().filter(|span| span.of(body) != resource.as_bytes());
        let others = others.map(|span| Edit { span: *span, text: Cow::Borrowed(&resource) });
        let inserts = inserts.iter().map(Insert::edit);
        let edits = rename.into_iter().chain(usage).chain(cuts).chain(others).chain(inserts);
        splice(body, &mut edits.collect::<Vec<_>>(), &mut out);
        return out;
    }
    match (rename, usage) {
        (None, None) => splice(body, &mut [], &mut out),
        (Some(edit), None) | (None, Some(edit)) => splice(body, &mut [edit], &mut out),
        (Some(rename), Some(usage)) => splice(body, &mut [rename, usage], &mut out),
    }
    out
}

/// The edit that renames the model, and the one that requests usage.
pub fn own_edits<'a>(
    request: &Request,
    upstream_model: &'a str,
    ask_usage: bool,
) -> (Option<Edit<'a>>, Option<Edit<'a>>) {
    let rename = request.spans.model.filter(|_| upstream_model != request.model);
    let rename = rename.map(|span| rename_at(span, upstream_model));
    let usage = request.spans.usage.filter(|_| ask_usage && request.stream);
    (rename, usage.map(|(span, text)| Edit { span, text: Cow::Borrowed(text) }))
}

/// A model's resource name as a JSON string.
pub fn resource_text(model: &str) -> String {
    let has_kind = model.starts_with("models/") || model.starts_with("tunedModels/");
    let name = if has_kind { Cow::Borrowed(model) } else { Cow::Owned(format!("models/{model}")) };
    serde_json::to_string(&name).unwrap_or_default()
}

/// The body of a request whose address names the model. What is no object stays as it is, for its reader to refuse.
pub fn with_model(body: Bytes, model: &str) -> Bytes {
    let name = serde_json::to_string(model).unwrap_or_default();
    let named = match find_member(&body, "model") {
        Ok(Some(span)) => {
            let (before, after) = (Span::new(0, span.start), Span::new(span.end, body.len()));
            Some([before.of(&body), name.as_bytes(), after.of(&body)].concat())
        }
        Ok(None) => with_first(body.trim_ascii_start(), "model", &name).ok().map(String::into_bytes),
        Err(_) => None,
    };
    named.map_or(body, Bytes::from)
}

/// Replaces a string, keeping its quotation marks where the name needs no escapes.
pub fn rename_at(string: Span, name: &str) -> Edit<'_> {
    if plain_end(name.as_bytes(), 0) == name.len() {
        return Edit {
            span: Span::new(string.start + 1, string.end.saturating_sub(1)),
            text: Cow::Borrowed(name),
        };
    }
    Edit { span: string, text: Cow::Owned(serde_json::to_string(name).unwrap_or_default()) }
}
