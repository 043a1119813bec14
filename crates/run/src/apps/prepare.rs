//! From an input to a request: compared with its schema, its files fetched, and written as the pipeline reads it.

use admit::Caller;
use bytes::Bytes;
use domain::{Fault, FaultClass, ObjectOwner, Operation, TraceId};
use line::Core;
use serde_json::{Value, json};
use tasks::Permits;

use super::Kind;
use super::{App, AppCall, Payload, media};
use crate::document::{self, Document, Text};
use crate::input::{self, DocumentInput, InputError};
use crate::limits::{INPUT_FILES_BYTES_MAX, PDFS_MAX, PDFS_OF_WORKSPACE_MAX};
use crate::prompt::TextInput;
use crate::refusal::Refusal;
use crate::task::Message;

/// One workspace's PDFs keep no other's from being read.
static PDFS: Permits = Permits::new(PDFS_OF_WORKSPACE_MAX, PDFS_MAX);

/// Where an input's files come from.
#[derive(Clone, Copy)]
pub(crate) enum Files<'a> {
    /// They are fetched, decoded, or read where they were uploaded.
    Fetched(&'a Core, ObjectOwner),
    /// They are left out: nothing is served.
    LeftOut,
}

impl<'a> Files<'a> {
    /// Those of a run.
    pub(crate) fn of(core: &'a Core, caller: &Caller) -> Self {
        Self::Fetched(core, caller.owner())
    }

    /// Files of an input, in order; none where they are left out.
    ///
    /// # Errors
    /// One can't be fetched or decoded, or they are too long together.
    pub(crate) async fn all(self, inputs: &[DocumentInput]) -> Result<Vec<document::Raw>, Refusal> {
        let Self::Fetched(core, owner) = self else { return Ok(Vec::new()) };
        let (mut files, mut bytes) = (Vec::with_capacity(inputs.len()), 0);
        for input in inputs {
            let file = document::load_own(input, core, owner).await?;
            bytes += file.bytes.len();
            check_length(bytes, input)?;
            files.push(file);
        }
        Ok(files)
    }
}

fn check_length(bytes: usize, last: &DocumentInput) -> Result<(), Refusal> {
    if bytes <= INPUT_FILES_BYTES_MAX {
        return Ok(());
    }
    let message = format!("The files are larger than {INPUT_FILES_BYTES_MAX} bytes in total.");
    let fault = Fault::new(FaultClass::TooLarge, "document_too_large", message)
        .fix("Send fewer or smaller files.")
        .param(last.pointer.trim_start_matches('/').replace('/', "."));
    Err(Refusal::Fault(Box::new(fault)))
}

/// The request that an input makes of an app. All is checked before anything is fetched, and all is fetched before the line
/// is called: a client that leaves in the meantime has used nothing. Only a text can come as a stream.
///
/// # Errors
/// The input does not fit, or a file of it can't be had.
pub(crate) async fn prepare(
    (app, files): (&App, Files<'_>),
    input: &Value,
    trace: TraceId,
    stream: bool,
) -> Result<AppCall, Refusal> {
    let kind = app.kind_for(input)?;
    input::check(kind, input).map_err(|misfit| match &app.unknown {
        // What its input lacks as one of a text model says nothing of a name that is wrong.
        Some(unknown) => Refusal::Fault(Box::new((**unknown).clone().param("app"))),
        None => misfit,
    })?;
    match kind {
        Kind::Text => text((app, files), input, trace, stream).await,
        Kind::Embedding => Ok(media::embedding(&app.name, input)),
        Kind::Image => media::image(&app.name, files, input, trace).await,
        Kind::Speech => Ok(media::speech(&app.name, input)),
        Kind::Transcription => media::transcription(&app.name, files, input, trace).await,
        Kind::Rerank => Ok(media::rerank(&app.name, input)),
        Kind::Moderation => Ok(media::moderation(&app.name, input)),
        Kind::Video => media::video(&app.name, files, input).await,
    }
}

async fn text(
    (app, files): (&App, Files<'_>),
    input: &Value,
    trace: TraceId,
    stream: bool,
) -> Result<AppCall, Refusal> {
    let read = TextInput::of(input);
    if read.turns.is_empty() {
        return Err(Refusal::Input(vec![InputError::new("/input/prompt", "\"prompt\" is missing or empty")]));
    }
    let (mut documents, mut messages) = (Vec::new(), Vec::new());
    if let Files::Fetched(core, owner) = files {
        let mut bytes = 0;
        for input in read.files() {
            let document = document::load(input, core, owner).await?;
            bytes += document.len();
            check_length(bytes, input)?;
            check_taken(app, &document, input)?;
            documents.push(match document {
                Document::Pdf { name, bytes, .. } if !reads_documents(app) => {
                    let (text, message) = extracted((app, owner), name, bytes, input).await?;
                    messages.push(message);
                    Document::Text(text)
                }
                document => document,
            });
        }
    }
    let body = read.encode(&app.name, &documents, stream, trace);
    Ok(AppCall { kind: Kind::Text, operation: Operation::Run, payload: Payload::Json(body), messages })
}

fn reads_documents(app: &App) -> bool {
    app.facts.is_none_or(|facts| facts.takes_documents)
}

/// The text of a PDF for a model that takes none, and what the client is told of that.
async fn extracted(
    (app, owner): (&App, ObjectOwner),
    name: String,
    bytes: Bytes,
    input: &DocumentInput,
) -> Result<(Text, Message), Refusal> {
    let unread = |why: &str| Refusal::Input(vec![InputError::new(input.pointer.clone(), why)]);
    let pdf::PdfText { text, pages, is_partial } =
        pdf::text_of(bytes, PDFS.acquire(*owner.workspace.as_bytes())).await.map_err(unread)?;
    let what = if is_partial { "part of the text" } else { "the text" };
    let message = format!(
        "{} doesn't accept PDFs, so it received {what} of the {pages} pages of {name}, without pictures and layout.",
        app.name
    );
    let meta = json!({
        "pointer": input.pointer, "filename": name, "pages": pages, "characters": text.chars().count(), "is_partial": is_partial,
    });
    let level = if is_partial { "warning" } else { "info" };
    let code = "document_text_extracted";
    let message = Message { level, code, message: message.into(), meta: Some(meta) };
    Ok((Text { name, mime: "application/pdf".to_owned(), text }, message))
}

/// Whether the model that would serve looks at pictures. The line would find out too, but not name the field.
fn check_taken(app: &App, document: &Document, input: &DocumentInput) -> Result<(), Refusal> {
    let is_picture = matches!(document, Document::Picture { .. });
    if is_picture && app.facts.is_some_and(|facts| !facts.takes_pictures) {
        let message =
            format!("is a picture, which {} doesn't accept; GET /v1/apps says which apps do", app.name);
        return Err(Refusal::Input(vec![InputError::new(input.pointer.clone(), message)]));
    }
    Ok(())
}

/// A request in JSON.
pub(super) fn json_call(kind: Kind, operation: Operation, body: &Value) -> AppCall {
    AppCall { kind, operation, payload: Payload::Json(Bytes::from(body.to_string())), messages: Vec::new() }
}
