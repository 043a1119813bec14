//! Requests that are forms with files: read as far as needed to know what is requested,
//! then streamed on as they arrive.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use decode::{FormArrival, FormIn, form_bytes_max, open_counted_form, open_form, too_large};
use domain::limits::BODY_BYTES_MAX;
use domain::upload::{Pieces, Upload};
use domain::{Fault, Operation};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http_body::Body;

use crate::body::{self, TimedBody, failed};
use crate::held_bodies::Holder;
use crate::unpack;

/// Reads a form. With `is_held`, all of it is read before this returns.
///
/// # Errors
/// As for every other body, and for a malformed form.
pub(crate) async fn open(
    mut body: TimedBody,
    headers: &mut HeaderMap,
    operation: Operation,
    is_held: bool,
    holder: Holder<'_>,
) -> Result<FormIn, Box<Fault>> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or_default().to_owned();
    if is_held || unpack::encoding(headers)?.is_some() {
        // A form that is held or decompressed is complete before it is sent: it is read and counted like any other body.
        let whole = body::read(&mut body, headers, BODY_BYTES_MAX, holder).await?;
        let coming = FormArrival { operation, content_type: &content_type, announced: None, is_held: true };
        return open_form(Box::new(BufferedBody(Some(whole))), coming).await;
    }
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let bytes_max = form_bytes_max(operation);
    if announced.is_some_and(|length: u64| length > bytes_max as u64) {
        return Err(too_large(bytes_max));
    }
    let coming = FormArrival { operation, content_type: &content_type, announced, is_held: false };
    let mut counted = holder.open();
    let form = open_counted_form(Box::new(Client(body)), coming, |length| counted.grow(length)).await?;
    Ok(form.held_as(|bytes| counted.of(bytes)))
}

/// A body that is read as it arrives, whatever its size.
pub(crate) fn stream(body: TimedBody) -> Upload {
    let announced = body.size_hint().exact();
    Upload::new(Box::new(Client(body)), announced)
}

struct BufferedBody(Option<Bytes>);

impl Pieces for BufferedBody {
    fn poll_piece(&mut self, _cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Box<Fault>>>> {
        Poll::Ready(self.0.take().filter(|bytes| !bytes.is_empty()).map(Ok))
    }
}

struct Client(TimedBody);

impl Pieces for Client {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Box<Fault>>>> {
        loop {
            let Some(frame) = ready!(Pin::new(&mut self.0).poll_frame(cx)) else { return Poll::Ready(None) };
            match frame.map(http_body::Frame::into_data) {
                Ok(Ok(bytes)) if !bytes.is_empty() => return Poll::Ready(Some(Ok(bytes))),
                // Nothing is read from trailers.
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(failed(error)))),
            }
        }
    }
}
