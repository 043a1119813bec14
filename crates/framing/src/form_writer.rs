//! Multipart forms, written.

use bytes::Bytes;

/// A form that is being written.
#[derive(Debug)]
pub struct FormWriter {
    boundary: String,
    body: Vec<u8>,
}

impl FormWriter {
    /// The boundary is of this request alone: no file of its client's can hold it by plan.
    pub fn new(request: &str) -> Self {
        Self { boundary: format!("tidegate-{request}"), body: Vec::new() }
    }

    pub fn text(&mut self, name: &str, value: &str) {
        self.begin(&format!("name=\"{name}\""), None);
        // A line that begins with the boundary would end the part.
        self.body.extend_from_slice(value.replace(&self.boundary, "").as_bytes());
        self.body.extend_from_slice(b"\r\n");
    }

    pub fn file(&mut self, name: &str, filename: &str, content_type: &str, bytes: &[u8]) {
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
    pub fn end(mut self) -> (String, Bytes) {
        self.body.extend_from_slice(format!("--{}--\r\n", self.boundary).as_bytes());
        (self.boundary, self.body.into())
    }
}

/// A name without what would end it in a header.
fn quoted(name: &str) -> String {
    name.chars().filter(|letter| !letter.is_control() && !matches!(letter, '"' | '\\')).collect()
}
