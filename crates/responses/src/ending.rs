//! How a Responses answer ends: status, reason, usage, or error.

use conversation::answer::StreamFault;
use conversation::upstream_error::{class_of, read_error};
use domain::{Event, FaultClass, Finish, Reason};
use json::members::Members;

use super::reader::Reader;
use super::usage::read_usage;

/// The fault for an error event or body.
pub(super) fn upstream(body: &[u8]) -> StreamFault {
    let mut report = read_error(body);
    // The event's own type, where the error's members are on the event itself.
    report.kind = report.kind.take().filter(|kind| kind != "error");
    let class = match report.code.as_deref() {
        Some(
            "invalid_prompt"
            | "bio_policy"
            | "misalignment_policy_violation"
            | "image_content_policy_violation",
        ) => FaultClass::ContentPolicy,
        Some(code) if code.contains("image") => FaultClass::BadRequest,
        _ => class_of(None, &report),
    };
    StreamFault::Upstream(report, class)
}

impl Reader {
    /// Reads the final response object.
    pub(super) fn finish(&mut self, response: &Members<'_>, out: &mut Vec<Event>) -> Result<(), StreamFault> {
        self.start(Some(response), out);
        let status = response.find_text("status").unwrap_or_default();
        if status == "failed" {
            out.extend(read_usage(response, true).map(Event::Usage));
            let error = response.find_object("error").unwrap_or_default();
            return Err(upstream(error));
        }
        for (at, item) in (0..).zip(response.find_elements("output")) {
            self.item_done(at, Some(item), out)?;
        }
        self.end_text(out);
        let open: Vec<u64> = self.items.keys().copied().collect();
        for at in open {
            self.end_call(at, out);
        }
        // A background response that is still running has no finish, which is not a fault.
        if !matches!(&*status, "queued" | "in_progress") {
            out.push(Event::Finish { choice: 0, finish: self.reason(&status, response) });
        }
        out.extend(read_usage(response, self.parts == 0).map(Event::Usage));
        out.push(Event::Done);
        self.is_done = true;
        Ok(())
    }

    fn reason(&self, status: &str, response: &Members<'_>) -> Finish {
        let incomplete =
            response.find_members("incomplete_details").and_then(|details| details.find_text("reason"));
        let detail = incomplete.as_deref().filter(|_| status == "incomplete");
        let reason = match (status, detail) {
            (_, Some("max_output_tokens" | "max_messages")) => Reason::Length,
            (_, Some("content_filter")) => Reason::ContentFilter,
            (_, Some("steered")) => Reason::Stop,
            ("cancelled", _) => Reason::Error,
            ("incomplete", _) if self.parts == 0 => Reason::Error,
            _ if self.has_calls => Reason::Calls,
            _ if self.has_refusal => Reason::Refusal,
            _ => Reason::Stop,
        };
        let raw = detail.unwrap_or(status);
        Finish { raw: (!raw.is_empty()).then(|| raw.to_owned()), ..Finish::of(reason) }
    }
}
