//! Reads stored responses (`GET /responses/{id}`): they are forwarded untouched, and only their end is
//! detected.

use conversation::answer::{ReadAnswer, StreamFault};
use domain::{Event, Finish, Json, PartKind, Reason, Usage};
use json::members::Members;

use super::usage::read_usage;

/// Reads a stream that may start anywhere in a response. A failure of the response is not a failure of this
/// read.
#[derive(Debug, Default)]
pub struct StoredReader {
    has_started: bool,
}

/// What a provider reports about a stored response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportedResponse {
    pub is_over: bool,
    /// Reported only for finished responses, and not for all of them.
    pub usage: Option<Usage>,
}

/// Reads a response object; `None` where the body is not one.
pub fn read_response(body: &[u8]) -> Option<ReportedResponse> {
    let response = Members::of_answer(body)?;
    let is_over = !is_open(&response.find_text("status")?);
    Some(ReportedResponse { is_over, usage: final_usage(&response) })
}

/// An unknown status counts as final, so that nobody polls forever.
fn is_open(status: &str) -> bool {
    matches!(status, "queued" | "in_progress")
}

/// The usage of a response object, once it is final.
pub fn final_usage(response: &Members<'_>) -> Option<Usage> {
    if is_open(&response.find_text("status")?) { None } else { read_usage(response, true) }
}

/// As `final_usage`, for a body that may be anything.
pub fn read_final_usage(body: &[u8]) -> Option<Usage> {
    final_usage(&Members::of_answer(body)?)
}

impl ReadAnswer for StoredReader {
    fn event(&mut self, name: &[u8], data: &[u8], out: &mut Vec<Event>) -> Result<(), StreamFault> {
        let Some(event) = Members::of_answer(data.trim_ascii()) else { return Ok(()) };
        let kind = event.find_text("type").unwrap_or(String::from_utf8_lossy(name));
        // Whatever the event is, the client has started to read the answer, which can't be restarted then.
        if !std::mem::replace(&mut self.has_started, true) {
            let kind = PartKind::Foreign { kind: kind.clone().into_owned(), json: Json("{}".to_owned()) };
            out.push(Event::Begin { choice: 0, part: 0, kind });
        }
        let ends = ["response.completed", "response.incomplete", "response.failed", "response.cancelled"];
        if ends.contains(&&*kind) {
            let response = event.find_members("response");
            out.extend(response.and_then(|response| final_usage(&response)).map(Event::Usage));
            out.push(Event::Finish { choice: 0, finish: Finish::of(Reason::Stop) });
            out.push(Event::Done);
        }
        Ok(())
    }

    /// The stream may start after a given event, and nothing may follow that.
    fn end(&mut self, out: &mut Vec<Event>) -> Result<(), StreamFault> {
        out.push(Event::Done);
        Ok(())
    }

    fn read_buffered(&mut self, body: &[u8], out: &mut Vec<Event>) -> Result<(), StreamFault> {
        super::Reader::default().read_buffered(body, out)
    }
}
