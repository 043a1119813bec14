//! Multipart form requests as far as they were read, and their bytes for an upstream.

use std::ops::Range;

use bytes::Bytes;

/// A form as far as later stages read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form {
    pub boundary: String,
    /// The model's position in the held bytes; `None` where the request names no model.
    pub model: Option<Range<usize>>,
    /// The provider that is to store the file, where the form or its address names one.
    pub provider: Option<String>,
    /// The ranges of the held bytes that only the gateway reads.
    pub own: Vec<Range<usize>>,
    /// How many bytes are held.
    pub held_bytes: u64,
    /// The number of files in the held bytes.
    pub files: u64,
    /// The first part whose name is not in this dialect's table.
    pub unknown: Option<String>,
    /// The models that the requests of a batch file name, as far as it has been read; `None` for any other file.
    pub batch_models: Option<Vec<String>>,
    /// Of these, the ones that have another name at the provider that the file goes to, with that name.
    pub renamed_models: Vec<(String, String)>,
}

impl Form {
    /// Its content type for an upstream. The boundary is quoted where it is not a token.
    pub fn content_type(&self) -> String {
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"'+_-.".contains(&byte);
        if self.boundary.bytes().all(is_token) {
            format!("multipart/form-data; boundary={}", self.boundary)
        } else {
            format!("multipart/form-data; boundary=\"{}\"", self.boundary)
        }
    }

    /// The held bytes without their boundary, so that two requests can be compared.
    pub fn without_boundary(&self, held: &[u8]) -> Bytes {
        let delimiter = format!("--{}", self.boundary).into_bytes();
        let mut plain = Vec::with_capacity(held.len());
        let mut rest = held;
        while let Some(at) = position(rest, &delimiter) {
            plain.extend_from_slice(rest.get(..at).unwrap_or_default());
            rest = rest.get(at + delimiter.len()..).unwrap_or_default();
        }
        plain.extend_from_slice(rest);
        plain.into()
    }

    /// The held bytes with the upstream's model name in place of the client's.
    pub fn upstream_body(&self, held: &Bytes, upstream_model: &str) -> Vec<Bytes> {
        if !self.own.is_empty() {
            return self.without_own(held);
        }
        let Some(Range { start, end }) = self.model.clone() else { return vec![held.clone()] };
        if end > held.len() || start > end || held.get(start..end) == Some(upstream_model.as_bytes()) {
            return vec![held.clone()];
        }
        vec![held.slice(..start), Bytes::copy_from_slice(upstream_model.as_bytes()), held.slice(end..)]
    }
}

impl Form {
    fn without_own(&self, held: &Bytes) -> Vec<Bytes> {
        let mut at = 0;
        let mut pieces = Vec::with_capacity(self.own.len() + 1);
        for part in &self.own {
            let (start, end) = (part.start.min(held.len()), part.end.min(held.len()));
            if at < start {
                pieces.push(held.slice(at..start));
            }
            at = end.max(at);
        }
        pieces.push(held.slice(at..));
        pieces
    }
}

fn position(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
