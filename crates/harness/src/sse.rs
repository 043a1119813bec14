//! A reference parser of event streams: any line ending, comments, multiple data lines, a byte order mark.

use std::collections::VecDeque;

/// Accepts bytes in pieces of any size and yields each event's data.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    /// The data lines of the current event, joined; `None` before its first.
    data: Option<Vec<u8>>,
    after_cr: bool,
    started: bool,
    ready: VecDeque<String>,
}

/// All events of a complete body; one without a blank line at its end is dropped, as the standard says.
pub fn events(body: &[u8]) -> Vec<String> {
    let mut parser = Parser::default();
    parser.push(body);
    parser.ready.into()
}

impl Parser {
    pub fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' if self.after_cr => self.after_cr = false,
                b'\n' | b'\r' => {
                    self.after_cr = *byte == b'\r';
                    self.end_line();
                }
                _ => {
                    self.after_cr = false;
                    self.line.push(*byte);
                }
            }
        }
    }

    pub fn next_event(&mut self) -> Option<String> {
        self.ready.pop_front()
    }

    fn end_line(&mut self) {
        let mut line = std::mem::take(&mut self.line);
        if !std::mem::replace(&mut self.started, true) && line.starts_with("\u{feff}".as_bytes()) {
            line.drain(..3);
        }
        if line.is_empty() {
            if let Some(data) = self.data.take() {
                self.ready.push_back(String::from_utf8_lossy(&data).into_owned());
            }
            return;
        }
        let Some(value) = line.strip_prefix(b"data:") else { return };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &mut self.data {
            None => self.data = Some(value.to_vec()),
            Some(data) => {
                data.push(b'\n');
                data.extend_from_slice(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, expected: &[&str]) {
        assert_eq!(events(body.as_bytes()), expected, "{body:?}");
        let mut parser = Parser::default();
        body.bytes().for_each(|byte| parser.push(&[byte]));
        assert_eq!(Vec::from(parser.ready), expected, "{body:?} byte by byte");
    }

    #[test]
    fn all_line_ends_and_fields() {
        check("data: a\n\ndata:b\n\n", &["a", "b"]);
        check("data: a\r\n\r\ndata: b\r\rdata: c\n\n", &["a", "b", "c"]);
        check("\u{feff}data: é漢🙂\n\n", &["é漢🙂"]);
        check(": ping\n\nevent: x\nid: 1\nretry: 5\ndata: a\ndata: b\n\n", &["a\nb"]);
        check("data: whole\n\ndata: cut", &["whole"]);
    }
}
