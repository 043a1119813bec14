//! What the rooms need of a request, whatever its grammar, and its bytes edited for an upstream of the same one.

use std::borrow::Cow;

use bytes::Bytes;
use domain::limits::END_USER_BYTES_MAX;
use domain::{KeptKind, PriceTerms, Units};

use crate::bundle::Bundle;
use crate::form::Form;
use crate::json::{Cursor, Span, Value, plain_end};
use crate::prefix::Insert;
use crate::splice::{Edit, splice};

/// What the rooms need of a request; everything else stays in the body's bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    pub model: String,
    pub stream: bool,
    /// The client itself asked for usage in the stream. Grammars that always say it need no asking.
    pub include_usage: bool,
    /// A stream is one array that grows, in the place of events.
    pub as_array: bool,
    pub max_output_tokens: Option<u64>,
    /// How many answers are wanted.
    pub choices: u32,
    /// Bytes of text in the prompt, for estimates.
    pub prompt_bytes: u64,
    /// What the request itself says of the units of its answer: pictures, characters, searches at most.
    pub units: Units,
    /// The tier that it asks for, and the tools of the provider's own that it offers the model.
    pub terms: PriceTerms,
    /// How vectors are wanted, where texts are to be turned into some.
    pub vectors: VectorForm,
    /// An answer that its provider keeps, where the request is about one or goes on from one.
    pub stored: Option<Box<Stored>>,
    /// Its own answer is to be kept.
    pub is_kept: bool,
    /// The client does not wait for its answer, and looks for it later.
    pub is_background: bool,
    /// Files that it names by their ids, in the order of the body.
    pub files: Vec<NamedFile>,
    /// The body is a form, and no JSON.
    pub form: Option<Box<Form>>,
    /// Which provider is to keep what is sent, where that is said.
    pub provider: Option<String>,
    /// Requests that come in it, to be answered by and by.
    pub bundle: Option<Box<Bundle>>,
    /// Where the body names what is made of.
    pub(crate) stored_value: Option<Span>,
    /// Where the body names the model; `None` where the address does.
    pub(crate) model_value: Option<Span>,
    /// Where the client says who asks.
    pub(crate) end_user: Option<Span>,
    /// Where the body names the model again, beside its address.
    pub(crate) resources: Vec<Span>,
    /// Where the prompt stands, where it is not the whole body.
    pub(crate) prompt: Option<Span>,
    /// What to put where, so that the upstream is asked for usage; `None` where it is anyway.
    pub(crate) usage_edit: Option<(Span, &'static str)>,
    /// Where the sealed form of the model's thoughts is asked for.
    pub(crate) sealed_thoughts: Option<Span>,
    /// What we wrote for this conversation in an earlier answer, and an upstream of the same grammar refuses.
    pub(crate) cuts: Vec<Span>,
}

/// A file that a conversation names by its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFile {
    /// As the client wrote it.
    pub id: String,
    /// Where, in the client's words.
    pub place: String,
    /// It was exchanged for what its keeper calls it.
    pub is_exchanged: bool,
    pub(crate) span: Span,
}

impl NamedFile {
    /// It is a name that was given here, or would be one.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.id.starts_with(KeptKind::File.prefix())
    }
}

/// How vectors are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VectorForm {
    /// The bytes of little-endian `f32` in base64, in the place of numbers.
    pub as_base64: bool,
    /// A list, in the place of a single one.
    pub is_batch: bool,
}

/// An answer that its provider keeps, and what is to be done with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// As the client knows it.
    pub id: String,
    pub act: StoredAct,
    /// What the address asks further, as it was written.
    pub query: String,
    /// What its provider calls it, where its client knows it by a name of ours.
    pub at_maker: Option<String>,
}

impl Stored {
    #[must_use]
    pub const fn new(id: String, act: StoredAct, query: String) -> Self {
        Self { id, act, query, at_maker: None }
    }

    /// Its name in an address of its provider.
    #[must_use]
    pub fn upstream_id(&self) -> &str {
        self.at_maker.as_deref().unwrap_or(&self.id)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredAct {
    /// A new answer goes on from it.
    Continue,
    /// Something new is made of it.
    Make,
    Read,
    /// What is in it.
    Content,
    Delete,
    Cancel,
    /// What it was asked.
    ListInput,
}

/// What the address of a request says, where its grammar puts it there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Addressed {
    pub model: String,
    pub stream: bool,
    /// A stream is one array that grows, in the place of events.
    pub as_array: bool,
    /// Several requests are in the body.
    pub is_batch: bool,
    /// The address is of an answer that was made before, or of something else that is kept.
    pub stored: Option<Stored>,
    /// Bytes of text that were said before, where the request itself holds none.
    pub prompt_bytes: u64,
    /// Which provider is to keep what is sent.
    pub provider: Option<String>,
}

impl Request {
    /// One that names a model and says nothing else.
    #[must_use]
    pub(crate) fn of_model(model: &str) -> Self {
        Self { model: model.to_owned(), choices: 1, ..Self::default() }
    }

    /// One about something that is kept.
    #[must_use]
    pub fn about(stored: Stored) -> Self {
        Self {
            stream: stored.act == StoredAct::Content,
            max_output_tokens: Some(0),
            choices: 1,
            stored: Some(Box::new(stored)),
            ..Self::default()
        }
    }

    /// The same without a wish for the sealed form of the model's thoughts, which a vendor may refuse for models that
    /// think none, and the name of the wish. `None` where nobody wishes.
    #[must_use]
    pub fn without_sealed_thoughts(&self) -> Option<(Self, &'static str)> {
        let span = self.sealed_thoughts?;
        let mut request = self.clone();
        request.cuts.push(span);
        Some((request, "include"))
    }

    /// Whom the client asks for, cut to what we keep; `body` is the one that was read.
    #[must_use]
    pub fn end_user(&self, body: &[u8]) -> Option<String> {
        let Ok(Value::String(text)) = Cursor::new(self.end_user?.of(body)).ok()?.value() else { return None };
        let mut text = text.decode().into_owned();
        text.truncate(text.floor_char_boundary(END_USER_BYTES_MAX));
        Some(text)
    }
}

/// The client's bytes for an upstream of the same grammar: the model renamed, usage asked for where `ask_usage` says so
/// and the answer is a stream. Large bodies are sliced, not copied.
#[must_use]
pub fn upstream_body(body: &Bytes, request: &Request, upstream_model: &str, ask_usage: bool) -> Vec<Bytes> {
    upstream_body_with(body, request, upstream_model, ask_usage, &[])
}

/// The same with what else is put in.
#[must_use]
pub fn upstream_body_with(
    body: &Bytes,
    request: &Request,
    upstream_model: &str,
    ask_usage: bool,
    inserts: &[Insert],
) -> Vec<Bytes> {
    if let Some(form) = &request.form {
        return form.upstream_body(body, upstream_model);
    }
    if let Some(bundle) = &request.bundle {
        return bundle.upstream_body(body);
    }
    let (rename, usage) = own_edits(request, upstream_model, ask_usage);
    let mut out = Vec::with_capacity(1);
    if let (Some(span), Some(stored)) = (request.stored_value, request.stored.as_deref()) {
        splice(body, &mut [rename_at(span, stored.upstream_id())], &mut out);
        return out;
    }
    if !request.cuts.is_empty() || !request.resources.is_empty() || !inserts.is_empty() {
        let cuts = request.cuts.iter().map(|span| Edit::cut(*span));
        let resource = resource_text(upstream_model);
        let others = request.resources.iter().filter(|span| span.of(body) != resource.as_bytes());
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

/// What puts the upstream's name for the model in, and what asks for usage.
pub(crate) fn own_edits<'a>(
    request: &Request,
    upstream_model: &'a str,
    ask_usage: bool,
) -> (Option<Edit<'a>>, Option<Edit<'a>>) {
    let rename = request.model_value.filter(|_| upstream_model != request.model);
    let rename = rename.map(|span| rename_at(span, upstream_model));
    let usage = request.usage_edit.filter(|_| ask_usage && request.stream);
    (rename, usage.map(|(span, text)| Edit { span, text: Cow::Borrowed(text) }))
}

/// A model's name as a JSON text, where it is a resource.
pub(crate) fn resource_text(model: &str) -> String {
    let has_kind = model.starts_with("models/") || model.starts_with("tunedModels/");
    let name = if has_kind { Cow::Borrowed(model) } else { Cow::Owned(format!("models/{model}")) };
    serde_json::to_string(&name).unwrap_or_default()
}

/// Puts a name in the place of a string, whose quotation marks stay where nothing in the name must be escaped.
pub(crate) fn rename_at(string: Span, name: &str) -> Edit<'_> {
    if plain_end(name.as_bytes(), 0) == name.len() {
        return Edit {
            span: Span::new(string.start + 1, string.end.saturating_sub(1)),
            text: Cow::Borrowed(name),
        };
    }
    Edit { span: string, text: Cow::Owned(serde_json::to_string(name).unwrap_or_default()) }
}
