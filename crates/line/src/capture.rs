//! What a request says and what it is answered, captured on the way where its project keeps it. It is handed over at the
//! answer's end, and sealed and stored elsewhere: no request waits for that.

use std::sync::Arc;

use admit::Caller;
use bytes::{Bytes, BytesMut};
use conversation::request::RequestPart;
use decode::Call;
use domain::TraceMode;
use domain::limits::CONTENT_BYTES_MAX;
use domain::ports::{ContentStore, KeptBody, RequestContent};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Response};
use settle::{CaptureAnswer, ReplyBody};

use crate::stop::EarlyExit;

const JSON: &str = "application/json";
const FORM: &str = "multipart/form-data";

/// The content of a request that is being answered.
pub(crate) struct Capture {
    content: RequestContent,
    answer: BytesMut,
    store: Arc<dyn ContentStore>,
}

impl Capture {
    /// `None` where nothing is kept of it.
    pub fn of(store: &Arc<dyn ContentStore>, call: &Call, caller: &Caller) -> Option<Box<Self>> {
        let kept = caller.kept_content()?;
        let mode = kept.of_request(call.trace(), call.trace_wish());
        if mode == TraceMode::Metadata || call.forbids_storage() || !says_something(call, caller) {
            return None;
        }
        let is_form = matches!(call.request().part, RequestPart::Form(_));
        let body = call.body();
        let sent = KeptBody {
            media_type: if is_form { FORM } else { JSON }.to_owned(),
            bytes: body.slice(..body.len().min(CONTENT_BYTES_MAX)),
            length: body.len() as u64,
        };
        let content = RequestContent {
            owner: caller.owner(),
            request: call.trace(),
            started_unix_ms: call.received_unix_ms(),
            mode,
            days: kept.days,
            dialect: call.dialect(),
            operation: call.operation(),
            sent,
            answer: KeptBody::default(),
            status: 0,
            is_whole: false,
        };
        Some(Box::new(Self { content, answer: BytesMut::new(), store: Arc::clone(store) }))
    }

    /// Captures what a request is answered. What is refused before it is admitted leaves no record, and no content.
    pub async fn around(
        self: Box<Self>,
        serving: impl Future<Output = Result<Response<ReplyBody>, EarlyExit>>,
    ) -> Result<Response<ReplyBody>, EarlyExit> {
        let (dialect, trace) = (self.content.dialect, self.content.request);
        match serving.await {
            Ok(response) => Ok(self.watch(response)),
            Err(EarlyExit::AfterAdmission(response, code)) => {
                if let Some(fault) = response.fault() {
                    let error = dialects::render_error(fault, dialect, trace);
                    self.failed(error.status, &error.body);
                }
                Err(EarlyExit::AfterAdmission(response, code))
            }
            Err(exit) => Err(exit),
        }
    }

    fn watch(mut self: Box<Self>, response: Response<ReplyBody>) -> Response<ReplyBody> {
        self.content.status = response.status().as_u16();
        self.content.answer.media_type = media_type(response.headers());
        response.map(|body| body.captured(self))
    }

    fn failed(mut self: Box<Self>, status: u16, error: &Bytes) {
        self.content.status = status;
        JSON.clone_into(&mut self.content.answer.media_type);
        self.piece(error);
        self.ended(true);
    }
}

impl CaptureAnswer for Capture {
    fn piece(&mut self, bytes: &Bytes) {
        let room = CONTENT_BYTES_MAX.saturating_sub(self.answer.len());
        self.answer.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        self.content.answer.length += bytes.len() as u64;
    }

    fn ended(self: Box<Self>, is_whole: bool) {
        let Self { mut content, answer, store } = *self;
        content.answer.bytes = answer.freeze();
        content.is_whole = is_whole;
        store.keep(content);
    }
}

/// Whether a request has content of its own: not one about something that a provider stores, nor one that the gateway makes for
/// itself.
fn says_something(call: &Call, caller: &Caller) -> bool {
    let is_wanted = caller.side_call().is_none_or(|side_call| side_call.is_wanted());
    is_wanted && call.request().stored.is_none() && call.spec().facts().object().is_none()
}

fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}
