//! Multipart forms, written from an input and read as those of clients are.

use std::task::{Context, Poll};

use bytes::Bytes;
use decode::{FormArrival, FormIn, open_form};
use domain::upload::Pieces;
use domain::{Fault, Operation, TraceId};

/// A form that is being written.
#[derive(Debug)]
pub(crate) struct FormWriter {
    boundary: String,
    body: Vec<u8>,
}

impl FormWriter {
    /// The boundary is of this request alone: no file of its client's can hold it by plan.
    pub(crate) fn new(trace: TraceId) -> Self {
        Self { boundary: format!("tidegate-{trace}"), body: Vec::new() }
    }

    pub(crate) fn text(&mut self, name: &str, value: &str) {
        self.begin(&format!("name=\"{name}\""), None);
        // A line that begins with the boundary would end the part.
        self.body.extend_from_slice(value.replace(&self.boundary, "").as_bytes());
        self.body.extend_from_slice(b"\r\n");
    }

    pub(crate) fn file(&mut self, name: &str, filename: &str, content_type: &str, bytes: &[u8]) {
        let filename = quoted(filename);
        self.begin(&format!("name=\"{name}\"; filename=\"{filename}\""), Some(content_type));
        self.body.extend_from_slice(bytes);
        self.body.extend_from_slice(b"\r\n");
    }

    fn begin(&mut self, names: &str, content_type: Option<&str>) {
        let mut head = format!("--{}\r\ncontent-disposition: form-data; {names}\r\n", self.boundary);
        if let Some(content_type) = content_type {
            head.push_str("content-type: ");
            head.extend(content_type.chars().filter(|letter| !letter.is_control()));
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        self.body.extend_from_slice(head.as_bytes());
    }

    /// Its boundary and its bytes.
    pub(crate) fn end(mut self) -> (String, Bytes) {
        self.body.extend_from_slice(format!("--{}--\r\n", self.boundary).as_bytes());
        (self.boundary, self.body.into())
    }
}

/// A name without what would end it in a header.
fn quoted(name: &str) -> String {
    name.chars().filter(|letter| !letter.is_control() && !matches!(letter, '"' | '\\')).collect()
}

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
