//! Multipart forms that were written from an input, read as those of clients are.

use std::task::{Context, Poll};

use bytes::Bytes;
use decode::{FormArrival, FormIn, open_form};
use domain::upload::Pieces;
use domain::{Fault, Operation};

/// A form that is complete already.
struct Whole(Option<Bytes>);

impl Pieces for Whole {
    fn poll_piece(&mut self, _cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Box<Fault>>>> {
        Poll::Ready(self.0.take().map(Ok))
    }
}

/// Reads a whole form as the stages want it.
pub(crate) async fn open(operation: Operation, boundary: &str, body: Bytes) -> Result<FormIn, Box<Fault>> {
    let content_type = format!("multipart/form-data; boundary={boundary}");
    let coming = FormArrival { operation, content_type: &content_type, announced: None, is_held: true };
    open_form(Box::new(Whole(Some(body))), coming).await
}
