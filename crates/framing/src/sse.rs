//! Server-sent events: where one event ends, and which of its lines are data.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memchr2};

/// Finds the ends of events in a stream that arrives in pieces. It holds three bits and no byte: the caller
/// holds back what follows the last end.
///
/// Lines end with LF, CR or CRLF, mixed as they come; an empty line ends an event.
#[derive(Debug, Clone)]
pub struct EventSplitter {
    /// The last byte seen was a CR, so an LF that follows belongs to it.
    after_cr: bool,
    /// No byte of the current line was seen yet.
    line_empty: bool,
    /// No byte of the current event was seen yet.
    event_empty: bool,
}

/// Whole events of a stream that arrives in pieces. It holds back what follows the last end.
#[derive(Debug, Default)]
pub struct WholeEvents {
    splitter: EventSplitter,
    partial: BytesMut,
}

impl WholeEvents {
    /// The next event that a piece completes, which is taken off the piece; `None` when no other ends in it.
    pub fn next_in(&mut self, piece: &mut &[u8]) -> Option<Bytes> {
        let end = self.splitter.find_end(piece);
        let (event, rest) = end.and_then(|end| piece.split_at_checked(end)).unwrap_or((*piece, &[]));
        self.partial.extend_from_slice(event);
        *piece = rest;
        end.map(|_| self.partial.split().freeze())
    }
}

/// The content of one event, as ranges of its bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event<'a> {
    /// The value of `event:`, empty if none was sent.
    pub name: &'a [u8],
    pub data: Data,
}

/// Where the data of an event is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Data {
    /// A comment, an `id:`, a `retry:`, or nothing at all.
    #[default]
    None,
    /// One `data:` line: its value's range in the event.
    One(std::ops::Range<usize>),
    /// Several `data:` lines; their values, joined by LF, are the data.
    Many(Vec<std::ops::Range<usize>>),
}

impl Data {
    /// Its JSON text, out of the event that it was read from; empty if there is none. Lines are joined by a
    /// space, which JSON treats like a line feed.
    pub fn json<'a>(&self, event: &'a [u8]) -> Cow<'a, [u8]> {
        let part = |range: &std::ops::Range<usize>| event.get(range.clone()).unwrap_or_default();
        match self {
            Self::None => Cow::Borrowed(b""),
            Self::One(range) => Cow::Borrowed(part(range)),
            Self::Many(ranges) => Cow::Owned(ranges.iter().map(part).collect::<Vec<_>>().join(&b' ')),
        }
    }
}

impl Default for EventSplitter {
    fn default() -> Self {
        Self { after_cr: false, line_empty: true, event_empty: true }
    }
}

impl EventSplitter {
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether `bytes` begin with the LF of a CRLF whose CR ended the event before. The caller treats this
    /// one byte like that event, and passes the rest on.
    pub fn take_stray_line_feed(&mut self, bytes: &[u8]) -> bool {
        let stray = self.after_cr && self.event_empty && bytes.first() == Some(&b'\n');
        if stray {
            self.after_cr = false;
        }
        stray
    }

    /// The index after the first event that ends in `bytes`; `None` if all of them belong to an event that
    /// continues. `bytes` follow what was passed before, up to the end that was returned.
    pub fn find_end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = usize::from(self.after_cr && bytes.first() == Some(&b'\n'));
        if !bytes.is_empty() {
            self.after_cr = false;
        }
        loop {
            let rest = bytes.get(at..)?;
            let Some(offset) = memchr2(b'\n', b'\r', rest) else {
                if !rest.is_empty() {
                    self.line_empty = false;
                    self.event_empty = false;
                }
                return None;
            };
            let blank = offset == 0 && self.line_empty;
            let mut end = at + offset + 1;
            if rest.get(offset) == Some(&b'\r') {
                match bytes.get(end) {
                    Some(b'\n') => end += 1,
                    Some(_) => {}
                    None => self.after_cr = true,
                }
            }
            self.line_empty = true;
            self.event_empty = blank;
            if blank {
                return Some(end);
            }
            at = end;
        }
    }
}

/// Reads the lines of one event. Unknown fields and comments are skipped, as the standard says.
pub fn read_event(event: &[u8]) -> Event<'_> {
    let mut found = Event::default();
    let mut at = 0;
    while let Some(rest) = event.get(at..).filter(|rest| !rest.is_empty()) {
        let length = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        let line = rest.get(..length).unwrap_or_default();
        read_line(event, line, at, &mut found);
        at += length + 1;
    }
    found
}

fn read_line<'a>(event: &'a [u8], line: &'a [u8], at: usize, found: &mut Event<'a>) {
    let colon = memchr(b':', line);
    let name = line.get(..colon.unwrap_or(line.len())).unwrap_or_default();
    let mut value = colon.map_or(line.len(), |colon| colon + 1);
    if line.get(value) == Some(&b' ') {
        value += 1;
    }
    let range = at + value..at + line.len();
    match name {
        b"data" => match &mut found.data {
            Data::None => found.data = Data::One(range),
            Data::One(first) => found.data = Data::Many(vec![first.clone(), range]),
            Data::Many(lines) => lines.push(range),
        },
        b"event" => found.name = event.get(range).unwrap_or_default(),
        _ => {}
    }
}

/// The bytes after byte order marks and whitespace.
#[inline]
pub fn skip_lead(bytes: &[u8]) -> &[u8] {
    let mut bytes = bytes.trim_ascii_start();
    while let Some(rest) = bytes.strip_prefix(b"\xEF\xBB\xBF") {
        bytes = rest.trim_ascii_start();
    }
    bytes
}

/// Whether the text starts with a line of an event stream; `None` when there is too little to tell.
pub fn begins_stream(text: &[u8]) -> Option<bool> {
    const STARTS: [&[u8]; 6] = [b":", b"data", b"event", b"id", b"retry", b"\xEF\xBB\xBF"];
    if STARTS.iter().any(|start| text.starts_with(start)) {
        return Some(true);
    }
    if STARTS.iter().any(|start| start.starts_with(text)) { None } else { Some(false) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The events of a complete text.
    fn split(text: &str) -> Vec<&str> {
        let mut splitter = EventSplitter::new();
        let mut events = Vec::new();
        let mut rest = text;
        while let Some(end) = splitter.find_end(rest.as_bytes()) {
            let (event, after) = rest.split_at(end);
            events.push(event);
            rest = after;
        }
        events.push(rest);
        events
    }

    #[test]
    fn an_empty_line_ends_an_event_whatever_ends_a_line() {
        assert_eq!(split("a\n\nb\n\n"), ["a\n\n", "b\n\n", ""]);
        assert_eq!(split("a\r\n\r\nb\r\rc"), ["a\r\n\r\n", "b\r\r", "c"]);
        assert_eq!(split("a\n\r\nb\r\n\nc\r\n\rd"), ["a\n\r\n", "b\r\n\n", "c\r\n\r", "d"]);
        assert_eq!(split("a\nb\n\n"), ["a\nb\n\n", ""]);
        assert_eq!(split("\n\na"), ["\n", "\n", "a"]);
    }

    #[test]
    fn a_line_feed_after_the_end_belongs_to_the_event_before() {
        let mut splitter = EventSplitter::new();
        assert_eq!(splitter.find_end(b"a\r\n\r"), Some(4));
        assert!(splitter.take_stray_line_feed(b"\nb"));
        assert!(!splitter.take_stray_line_feed(b"\nb"));
        assert_eq!(splitter.find_end(b"b\r"), None);
        assert!(!splitter.take_stray_line_feed(b"\n\n"), "inside of an event it is the line's");
        assert_eq!(splitter.find_end(b"\n\n"), Some(2));
    }

    #[test]
    fn events_are_whole_however_the_stream_is_cut() {
        let stream = b"data: one\n\n: two\r\n\r\ndata: three";
        for length in 1..=stream.len() {
            let (mut events, mut found) = (WholeEvents::default(), Vec::new());
            for mut piece in stream.chunks(length) {
                while let Some(event) = events.next_in(&mut piece) {
                    found.push(event);
                }
            }
            let read: Vec<_> = found.iter().map(|event| data(str::from_utf8(event).unwrap())).collect();
            assert_eq!(read, ["one", "nothing"], "{length}");
        }
    }

    fn data(event: &str) -> String {
        match read_event(event.as_bytes()).data {
            Data::None => "nothing".to_owned(),
            Data::One(range) => event[range].to_owned(),
            Data::Many(ranges) => ranges.into_iter().map(|range| &event[range]).collect::<Vec<_>>().join("|"),
        }
    }

    #[test]
    fn fields_are_read_as_the_standard_says() {
        assert_eq!(data("data: x\n\n"), "x");
        assert_eq!(data("data:x\r\n\r\n"), "x");
        assert_eq!(data("data:  x \n\n"), " x ");
        assert_eq!(data("data\n\n"), "");
        assert_eq!(data("data:\n\n"), "");
        assert_eq!(data(": data: x\nid: 1\nretry: 5\ndatax: y\n\n"), "nothing");
        assert_eq!(data("data: a\rdata:b\r\ndata: c\n\n"), "a|b|c");
        assert_eq!(read_event(b"event: error\ndata: x\n\n").name, b"error");
        assert_eq!(read_event(b"data: event: x\n\n").name, b"");
    }

    proptest! {
        #[test]
        fn the_events_are_the_text(text in "[ad:\r\n]{0,40}") {
            prop_assert_eq!(split(&text).concat(), text);
        }
    }
}
