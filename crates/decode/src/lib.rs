//! The first stage: parses a request's bytes into a `Call`, or returns a fault that says what is wrong with
//! them.

mod agent_headers;
#[cfg(feature = "fixtures")]
pub mod fixtures;
mod form;
mod hints;
mod planned_form;

use std::cell::OnceCell;

use bytes::Bytes;
use conversation::request::{Addressed, Request, RequestPart, StoredAct};
use conversation::screening::Screening;
use dialects::Prefixes;
use domain::ports::FoundResponse;
use domain::{
    Dialect, Fault, FaultClass, FilesKeeper, Hints, Operation, Principal, Prompt, ReadHints, RequestTraits,
    SessionId, StoredKind, StoredObjectKind, TraceId, TraceMode, Upload, Usage,
};
use http::HeaderMap;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use operations::{CallSize, ModelLimits, ObjectFacts, OperationSpec, RequestSource, Subject};

pub use agent_headers::{SESSION_REF, SessionHistory, too_much_kept};
pub use form::{
    FormArrival, FormIn, comes_as_form, form_bytes_max, incomplete, open_counted_form, open_form, too_large,
    whole_form,
};
pub use hints::{
    HINTS_REF, RequestHints, StatedInHints, hints_of, read_value as read_hints, reference, state_qos,
    stated_qos, tag_hints,
};
pub use operations::requests_file;
pub use planned_form::form_of_json;

const LENIENT: HeaderName = HeaderName::from_static("agent-lenient");

/// A request as it arrived, with its body buffered.
#[derive(Debug)]
pub struct Inbound {
    pub trace: TraceId,
    pub dialect: Dialect,
    pub operation: Operation,
    pub headers: HeaderMap,
    /// What the URL says about the model, in dialects that name it there.
    pub addressed: Option<Box<Addressed>>,
    pub body: Bytes,
    /// A multipart form, in place of `body`.
    pub form: Option<Box<FormIn>>,
    /// Arrival of its first byte, on the monotonic clock.
    pub received_us: u64,
    pub received_unix_ms: u64,
}

impl Inbound {
    /// The same request with another body, and without a form.
    pub fn with_body(&self, body: Bytes) -> Self {
        Self {
            trace: self.trace,
            dialect: self.dialect,
            operation: self.operation,
            headers: self.headers.clone(),
            addressed: self.addressed.clone(),
            body,
            form: None,
            received_us: self.received_us,
            received_unix_ms: self.received_unix_ms,
        }
    }
}

/// A decoded, valid request. Only `decode` makes one. Boxed, since it is moved from stage to stage inside
/// other values.
#[derive(Debug)]
pub struct Call(Box<CallData>);

#[derive(Debug)]
struct CallData {
    trace: TraceId,
    dialect: Dialect,
    operation: Operation,
    request: Request,
    body: Bytes,
    upload: Option<Upload>,
    /// Boxed: few requests have any.
    hints: Option<Box<RequestHints>>,
    native: Vec<(HeaderName, HeaderValue)>,
    is_lenient: bool,
    /// A batch whose requests may be sent to an account that workspaces share.
    may_be_pooled: bool,
    forbids_storage: bool,
    unheeded: Vec<String>,
    session: Option<SessionId>,
    seat: Option<Principal>,
    trace_wish: Option<TraceMode>,
    found_response: Option<FoundResponse>,
    files: Option<Result<FilesKeeper, Box<Fault>>>,
    header_map: HeaderMap,
    received_us: u64,
    received_unix_ms: u64,
    decoded_us: u64,
    /// What the checks of policies found; `None` where none apply.
    screening: Option<Box<Screening>>,
    /// Computed lazily: few requests need them.
    prefixes: OnceCell<Option<Box<Prefixes>>>,
}

/// What the store knows of the objects that a call names.
#[derive(Debug, Default)]
pub struct StoredFindings {
    /// The stored response or object; `None` where the call names none.
    pub response: Option<FoundResponse>,
    /// The provider's id of that object.
    pub provider_object_id: Option<String>,
    /// When its provider deletes that object, if known.
    pub until_unix_ms: Option<u64>,
    /// The owner of the files, or why they can't be used; `None` where the call names none of ours.
    pub files: Option<Result<FilesKeeper, Box<Fault>>>,
    /// Our id of each file, and the provider's.
    pub file_ids: Vec<(String, String)>,
}

/// A call whose body and header map were taken out of it, so that each is freed when nothing needs it: the
/// call itself lives until the end of the answer.
pub struct SplitCall {
    pub call: Call,
    pub body: Bytes,
    /// The request's emptied header map, so that the response can reuse its allocation, which is of about the
    /// right size.
    pub header_map: HeaderMap,
}

/// Decodes a request.
///
/// # Errors
/// What is wrong with the request, where, and how to fix it; never anything about the sender.
pub fn decode(inbound: Inbound, now_us: u64) -> Result<Call, Box<Fault>> {
    let grammar = inbound.dialect.grammar();
    let (request, body, upload) = match inbound.form {
        Some(form) => (of_form(form.request, inbound.addressed.as_deref()), form.held, form.rest),
        None => {
            let (body, addressed) = (&inbound.body, inbound.addressed.as_deref());
            // The body of a request about a stored response is not read.
            if addressed.is_none_or(|addressed| addressed.stored.is_none()) {
                check_content_type(&inbound.headers)?;
            }
            let source = RequestSource { grammar, body, addressed };
            let request = operations::of(inbound.operation).read_request(source)?;
            (request, inbound.body, None)
        }
    };
    let (mut hints, mut is_lenient, mut unheeded, mut session) = (None, false, Vec::new(), None);
    let mut trace_wish = None;
    if agent_headers::has_own(&inbound.headers) {
        let lenient = inbound.headers.get(LENIENT);
        is_lenient = lenient.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"));
        trace_wish = match agent_headers::trace_mode(&inbound.headers) {
            Err(_) if is_lenient => {
                unheeded.push(agent_headers::TRACE_MODE.1.to_owned());
                None
            }
            read => read?,
        };
        session = agent_headers::session(&inbound.headers)?;
        agent_headers::check_no_history(&inbound.headers)?;
        hints = hints::read(&inbound.headers, &mut unheeded);
    }
    let native = dialects::native_headers(grammar, &inbound.headers);
    let forbids_storage = forbids_storage(&inbound.headers);
    let mut header_map = inbound.headers;
    header_map.clear();
    Ok(Call(Box::new(CallData {
        trace: inbound.trace,
        dialect: inbound.dialect,
        operation: inbound.operation,
        request,
        body,
        upload,
        hints,
        native,
        is_lenient,
        may_be_pooled: false,
        forbids_storage,
        unheeded,
        session,
        trace_wish,
        seat: None,
        found_response: None,
        files: None,
        header_map,
        received_us: inbound.received_us,
        received_unix_ms: inbound.received_unix_ms,
        decoded_us: now_us,
        screening: None,
        prefixes: OnceCell::new(),
    })))
}

/// The request of a form, with what the URL names that the form doesn't.
fn of_form(mut request: Request, addressed: Option<&Addressed>) -> Request {
    let Some(addressed) = addressed else { return request };
    if request.model.is_empty() {
        request.model.clone_from(&addressed.model);
    }
    if let RequestPart::Form(form) = &mut request.part
        && form.provider.is_none()
    {
        form.provider.clone_from(&addressed.provider);
    }
    request
}

/// The directives of `Cache-Control`, each with its value.
pub fn cache_directives(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let values = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let directives = values.flat_map(|value| value.split(','));
    directives
        .map(|directive| directive.split_once('=').unwrap_or((directive, "")))
        .map(|(name, value)| (name.trim(), value.trim()))
}

/// Whether the client said `no-store`.
fn forbids_storage(headers: &HeaderMap) -> bool {
    cache_directives(headers).any(|(name, _)| name.eq_ignore_ascii_case("no-store"))
}

/// What is known of an operation.
pub fn facts(operation: Operation) -> &'static operations::Facts {
    operations::of(operation).facts()
}

impl Call {
    pub fn trace(&self) -> TraceId {
        self.0.trace
    }

    pub fn dialect(&self) -> Dialect {
        self.0.dialect
    }

    pub fn operation(&self) -> Operation {
        self.0.operation
    }

    /// What is known of its operation.
    pub fn spec(&self) -> &'static dyn OperationSpec {
        operations::of(self.0.operation)
    }

    /// Whether it makes or names a file, batch or video that its provider stores.
    pub fn is_about_object(&self) -> bool {
        self.object().is_some()
    }

    /// What is known of the files, batches or videos that it makes or names.
    pub fn object(&self) -> Option<&'static ObjectFacts> {
        self.spec().facts().object()
    }

    /// Whether it names a response or object that its provider stores.
    pub fn names_stored(&self) -> bool {
        match self.spec().facts().subject {
            Subject::NewAnswer => false,
            Subject::StoredAnswer => true,
            Subject::StoredObject(_) => self.0.request.stored.is_some(),
        }
    }

    pub fn request(&self) -> &Request {
        &self.0.request
    }

    /// Headers of the client's dialect that are forwarded to an upstream of the same dialect.
    pub fn native_headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.0.native
    }

    /// Whether parameters that the upstream can't express may be dropped even if that changes the answer
    /// (`Agent-Lenient`).
    pub fn is_lenient(&self) -> bool {
        self.0.is_lenient
    }

    /// Whether the client said that nothing of it is to be stored (`Cache-Control: no-store`).
    pub fn forbids_storage(&self) -> bool {
        self.0.forbids_storage
    }

    /// What the client wishes to be kept of it.
    pub fn trace_wish(&self) -> Option<TraceMode> {
        self.0.trace_wish
    }

    /// The same without the wish, whose header is named as one that was not honoured.
    pub fn without_trace_wish(mut self, header: &str) -> Self {
        self.0.trace_wish = None;
        self.0.unheeded.push(header.to_owned());
        self
    }

    /// `Agent-*` headers of the request that are not supported here, and fields of its hints that have no effect.
    pub fn unheeded(&self) -> &[String] {
        &self.0.unheeded
    }

    /// The agent's session that it belongs to (`Agent-Session-Ref`).
    pub fn session(&self) -> Option<SessionId> {
        self.0.session
    }

    /// Where the runs of its session stay, as far as they may.
    pub fn seat(&self) -> Option<Principal> {
        self.0.seat
    }

    /// What is known of the stored response or object that the request names. `None` where it names none.
    pub fn found_response(&self) -> Option<&FoundResponse> {
        self.0.found_response.as_ref()
    }

    /// The owner of the files that the request names, or why they can't be used. `None` where it names none
    /// of ours.
    pub fn files(&self) -> Option<Result<&FilesKeeper, &Fault>> {
        Some(self.0.files.as_ref()?.as_ref().map_err(Box::as_ref))
    }

    /// The call with what the store knows of the objects that it names. The files' ids in its body become the
    /// provider's.
    pub fn with_stored(mut self, findings: StoredFindings) -> Self {
        let StoredFindings { response, provider_object_id, until_unix_ms, files, file_ids } = findings;
        let call = &mut *self.0;
        call.found_response = response;
        if let (Some(stored), Some(id)) = (&mut call.request.stored, provider_object_id) {
            stored.provider_object_id = Some(id);
            stored.until_unix_ms = until_unix_ms;
        }
        let at_keeper = |ours: &str| file_ids.iter().find(|(id, _)| id == ours).map(|(_, id)| id.clone());
        call.files = files.map(|found| {
            let keeper = found?;
            let (grammar, operation) = (call.dialect.grammar(), call.operation);
            let exchanged =
                dialects::exchange_files(grammar, operation, &call.body, &call.request, &at_keeper)?;
            (call.body, call.request) = exchanged;
            call.prefixes = OnceCell::new();
            Ok(keeper)
        });
        self
    }

    /// The call with what the checks of policies found in it, before it was decoded.
    pub fn with_screening(mut self, screening: Option<Box<Screening>>) -> Self {
        self.0.screening = screening;
        self
    }

    /// The batch of a call after it was found that its requests may be sent to an account that workspaces share.
    pub fn for_pool(mut self) -> Self {
        self.0.may_be_pooled = true;
        self
    }

    /// The call of a warm session, whose runs stay at a seat.
    pub fn at_seat(mut self, seat: Principal) -> Self {
        self.0.seat = Some(seat);
        self
    }

    pub fn may_be_pooled(&self) -> bool {
        self.0.may_be_pooled
    }

    /// The call as a rule of a policy refuses it, which its plan tells.
    pub fn with_refusal(mut self, fault: Box<Fault>) -> Self {
        self.0.screening.get_or_insert_default().fault = Some(fault);
        self
    }

    pub fn screening(&self) -> Option<&Screening> {
        self.0.screening.as_deref()
    }

    /// Whether it asks for something new, and not only about what exists.
    pub fn makes_something(&self) -> bool {
        let stored = self.0.request.stored.as_ref();
        stored.is_none_or(|stored| {
            matches!(stored.act, StoredAct::Continue | StoredAct::Make | StoredAct::Extend)
        })
    }

    /// The whole conversation; `None` if it is none, or can't be read.
    pub fn prompt(&self) -> Option<Prompt> {
        let is_prompt = self.spec().facts().is_conversation || self.0.operation == Operation::CachedContent;
        if !is_prompt || self.0.body.is_empty() {
            return None;
        }
        dialects::read_prompt(self.0.dialect.grammar(), &self.0.body, &self.0.request).ok()
    }

    /// The most that an answer can use. The limits are those of the model, its context and its output; `None`
    /// for a model that is not in the catalogue.
    pub fn usage_ceiling(&self, limits: Option<(Option<u64>, Option<u64>)>) -> Usage {
        let model = limits.map(|(context, output)| ModelLimits::known(context, output));
        let size = CallSize {
            request: &self.0.request,
            body_bytes: self.0.body.len() as u64,
            is_arriving: self.0.upload.is_some(),
            form_bytes_max: form_bytes_max(self.0.operation) as u64,
            received_unix_ms: self.0.received_unix_ms,
        };
        self.spec().ceiling(&size, model.unwrap_or_default())
    }

    /// Whether a new answer is to continue a stored one.
    pub fn continues_stored(&self) -> bool {
        self.0.request.stored.as_ref().is_some_and(|stored| stored.act == StoredAct::Continue)
    }

    /// Whether the request asks for an answer again that its provider stores.
    pub fn reads_stored_answer(&self) -> bool {
        let is_read = self.0.request.stored.as_ref().is_some_and(|stored| stored.act == StoredAct::Read);
        is_read && self.spec().facts().subject == Subject::StoredAnswer
    }

    /// Whether the request derives a new object from the stored one that it names.
    pub fn derives_from_stored(&self) -> bool {
        let stored = self.0.request.stored.as_ref();
        self.is_about_object() && stored.is_some_and(|stored| stored.act == StoredAct::Make)
    }

    /// Whether the request makes something from the file that it names.
    pub fn is_made_from_file(&self) -> bool {
        self.derives_from_stored() && self.object().is_some_and(|object| object.is_made_from_file)
    }

    /// The kind of stored object that the request names, if any.
    pub fn names_kind(&self) -> Option<StoredObjectKind> {
        if self.is_made_from_file() {
            Some(StoredObjectKind::FILE)
        } else {
            let kind = StoredKind::of(self.0.operation)?;
            Some(StoredObjectKind::of(self.0.dialect, kind))
        }
    }

    /// Whether the request is about a batch that names its models when it is made.
    pub fn is_about_batch_with_models(&self) -> bool {
        self.names_kind().is_some_and(dialects::lists_models)
    }

    /// Whether the request deletes the stored object that it names.
    pub fn deletes_stored_object(&self) -> bool {
        let stored = self.0.request.stored.as_ref();
        self.is_about_object() && stored.is_some_and(|stored| stored.act == StoredAct::Delete)
    }

    /// The call with the provider's names of the models in a batch's requests, or in those of an uploaded file, in order.
    pub fn with_upstream_models(mut self, names: Vec<String>) -> Self {
        if let RequestPart::Form(form) = &mut self.0.request.part {
            let models = form.batch_models.iter().flatten().cloned();
            form.renamed_models = models.zip(names).filter(|(model, name)| model != name).collect();
            return self;
        }
        if let Some(bundle) = self.0.request.batch_mut() {
            for (model, name) in bundle.models.iter_mut().zip(names) {
                model.upstream_name = Some(name);
            }
        }
        self
    }

    pub fn body(&self) -> &Bytes {
        &self.0.body
    }

    /// The part of the body that has not arrived yet.
    pub fn upload(&self) -> Option<&Upload> {
        self.0.upload.as_ref()
    }

    /// Takes the body and the header map out of the call, once no later stage reads them in it.
    pub fn split(mut self) -> SplitCall {
        let body = std::mem::take(&mut self.0.body);
        let header_map = std::mem::take(&mut self.0.header_map);
        SplitCall { call: self, body, header_map }
    }

    /// The prompt prefixes that may recur in other requests. `body` is passed in, since `split` takes it out
    /// of the call.
    pub fn prefixes(&self, body: &[u8]) -> Option<&Prefixes> {
        let read = || dialects::read_prefixes(self.0.dialect.grammar(), body).map(Box::new);
        self.0.prefixes.get_or_init(read).as_deref()
    }

    /// What its body says beyond what every request needs. Reads the body, so it is only for where some route asks.
    pub fn traits(&self) -> RequestTraits {
        conversation::traits::read_traits(&self.0.request, &self.0.body)
    }

    /// The request's tag, from its hints.
    pub fn tag(&self) -> Option<&str> {
        self.hints()?.tag.as_deref()
    }

    /// What the client wishes of how the request is served; `None` for most.
    pub fn hints(&self) -> Option<&Hints> {
        self.0.hints.as_ref().map(|request| &request.hints)
    }

    /// Whether an answer that begins this long after it came meets the target that it states; `None` without one.
    pub fn meets_target(&self, elapsed_us: u64) -> Option<bool> {
        self.hints()?.qos.meets_target(elapsed_us)
    }

    /// Whether it states a time within which its answer should start.
    pub fn has_target(&self) -> bool {
        self.hints().is_some_and(|hints| hints.qos.target_ttft_ms.is_some())
    }

    /// The stored hints that the request refers to.
    pub fn hints_reference(&self) -> Option<&str> {
        self.0.hints.as_ref()?.reference.as_deref()
    }

    /// The call with the stored hints that it refers to or, as `None`, without any: then the header is named as one that
    /// has no effect.
    pub fn with_stored_hints(mut self, stored: Option<&ReadHints>) -> Self {
        match stored {
            Some(stored) => self.0.unheeded.extend(hints::named(HINTS_REF, stored)),
            None => self.0.unheeded.push(HINTS_REF.to_owned()),
        }
        if let Some(request) = &mut self.0.hints {
            request.hints = stored.map(|stored| stored.hints.clone()).unwrap_or_default();
        }
        self
    }

    pub fn received_us(&self) -> u64 {
        self.0.received_us
    }

    pub fn received_unix_ms(&self) -> u64 {
        self.0.received_unix_ms
    }

    pub fn decoded_us(&self) -> u64 {
        self.0.decoded_us
    }
}

/// Accepts JSON, and a body without a content type; any other type is refused.
///
/// # Errors
/// 415, naming the type received.
pub fn check_content_type(headers: &HeaderMap) -> Result<(), Box<Fault>> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let json = essence.eq_ignore_ascii_case(b"application/json")
        || essence.len() > 5
            && essence.get(essence.len() - 5..).is_some_and(|end| end.eq_ignore_ascii_case(b"+json"));
    if json {
        return Ok(());
    }
    let printable: String =
        String::from_utf8_lossy(essence).chars().filter(|c| !c.is_control()).take(64).collect();
    let message = format!("This path takes application/json, and the body came as \"{printable}\".");
    let fault = Fault::new(FaultClass::MediaType, "unsupported_media_type", message);
    Err(Box::new(fault.fix("Send the header \"content-type: application/json\".")))
}

#[cfg(test)]
mod tests {
    use conversation::request::Stored;

    use super::*;

    fn inbound(content_type: Option<&'static str>, body: &'static str) -> Inbound {
        let mut headers = HeaderMap::new();
        if let Some(value) = content_type {
            headers.insert(CONTENT_TYPE, value.parse().expect("a value"));
        }
        Inbound {
            trace: TraceId::new(1, [0; 10]),
            dialect: Dialect::Chat,
            operation: Operation::Chat,
            headers,
            addressed: None,
            body: Bytes::from_static(body.as_bytes()),
            form: None,
            received_us: 5,
            received_unix_ms: 7,
        }
    }

    const BODY: &str = r#"{"model":"m","messages":[{"role":"user","content":"x"}]}"#;

    #[test]
    fn a_call_keeps_what_came() {
        let call = decode(inbound(Some("application/json; charset=utf-8"), BODY), 9).expect("a valid call");
        assert_eq!((call.received_us(), call.received_unix_ms(), call.decoded_us()), (5, 7, 9));
        assert_eq!(call.request().model, "m");
        assert_eq!(call.body(), BODY);
        assert_eq!(call.tag(), None);
    }

    #[test]
    fn what_a_call_names_and_derives_is_known_from_its_operation_and_its_address() {
        let call = |operation, act: Option<StoredAct>| {
            let stored = act.map(|act| Stored::new("id_1".to_owned(), act, String::new()));
            let request = stored.map_or_else(Request::default, Request::about);
            let arrived = inbound(None, BODY);
            let mut call = decode(arrived, 0).expect("a valid call");
            (call.0.operation, call.0.request) = (operation, request);
            (call.names_stored(), call.derives_from_stored(), call.is_made_from_file())
        };
        for (operation, act, expected) in [
            (Operation::Chat, None, (false, false, false)),
            (Operation::Chat, Some(StoredAct::Continue), (false, false, false)),
            (Operation::Stored, Some(StoredAct::Read), (true, false, false)),
            (Operation::File, None, (false, false, false)),
            (Operation::File, Some(StoredAct::Read), (true, false, false)),
            (Operation::Batch, Some(StoredAct::Cancel), (true, false, false)),
            (Operation::Batch, Some(StoredAct::Make), (true, true, true)),
            (Operation::Video, None, (false, false, false)),
            (Operation::Video, Some(StoredAct::Make), (true, true, false)),
        ] {
            assert_eq!(call(operation, act), expected, "{operation:?} {act:?}");
        }
    }

    #[test]
    fn json_and_silence_pass_and_every_other_type_is_415() {
        for accepted in
            [None, Some("application/json"), Some("Application/JSON"), Some("application/vnd.x+json")]
        {
            assert!(decode(inbound(accepted, BODY), 0).is_ok(), "{accepted:?}");
        }
        for refused in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "",
            "+json",
        ] {
            let fault = decode(inbound(Some(refused), BODY), 0).expect_err("another type");
            assert_eq!(fault.class, FaultClass::MediaType, "{refused}");
        }
    }
}
