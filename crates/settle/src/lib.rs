//! The sixth room: the answer goes to the client as a body, and its tab is closed exactly once, however that ends.

mod body;

pub use body::{ReplyBody, ReplyError};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use ledger::Closing;
use relay::{Conclusion, Delivery};

/// Makes the response of a delivery. What is whole is settled here and now: whether its client still reads changes
/// nothing of what was used. A stream is settled by its end, its error, or by hyper dropping the body.
#[must_use]
pub fn settle(mut delivery: Delivery) -> Response<ReplyBody> {
    let (status, headers) = (delivery.status(), delivery.take_headers());
    match delivery.take_whole() {
        Some(bytes) => {
            close(&mut delivery);
            whole(status, headers, bytes)
        }
        None => response(status, headers, ReplyBody::relayed(delivery)),
    }
}

/// An answer without a tab: a refusal before admission, a model list.
#[must_use]
pub fn whole(status: StatusCode, headers: HeaderMap, bytes: Bytes) -> Response<ReplyBody> {
    response(status, headers, ReplyBody::whole(bytes))
}

fn response(status: StatusCode, headers: HeaderMap, body: ReplyBody) -> Response<ReplyBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// Closes the delivery's tab; the second time there is none.
fn close(delivery: &mut Delivery) {
    let Some(conclusion) = delivery.conclude() else { return };
    let Conclusion { tab, outcome, status, fault, usage, bytes_out, fallback_used } = conclusion;
    tab.close(Closing { outcome, status, fault: fault.as_deref(), usage, bytes_out, fallback_used });
}
