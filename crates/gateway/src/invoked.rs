//! Requests to invoke a model with a body in its vendor's format: they are served as the messages that they hold, and their
//! streams are put into frames.

use decode::Inbound;
use dialects::{InvokedStream, invoked_request, invoked_stream_headers};
use domain::Fault;
use http::header::CONTENT_TYPE;
use http::{Response, StatusCode};

use crate::reply::Reply;

/// Puts such a request into the form of messages, whose body says all.
pub(crate) fn as_messages(inbound: &mut Inbound) -> Result<(), Box<Fault>> {
    let addressed = inbound.addressed.take().ok_or_else(|| Box::new(Fault::internal()))?;
    decode::check_content_type(&inbound.headers)?;
    inbound.body = invoked_request(&inbound.body, &addressed, &mut inbound.headers)?;
    Ok(())
}

/// Puts the events of an answer into frames, where it has some.
pub(crate) fn in_frames(
    mut answer: Response<Reply>,
    elapsed_ms: impl Fn() -> u64 + 'static,
) -> Response<Reply> {
    let kind = answer.headers().get(CONTENT_TYPE);
    let is_events = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    if !is_events || answer.status() != StatusCode::OK {
        return answer;
    }
    invoked_stream_headers(answer.headers_mut());
    answer.map(|reply| reply.framed(InvokedStream::default(), elapsed_ms))
}
