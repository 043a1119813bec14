//! Edits bytes in place: slices of the original around what is put in.

use bytes::{Bytes, BytesMut};

use crate::json::Span;

/// Below this one copy is cheaper than another segment in every write that follows.
const COPY_BYTES_MAX: usize = 16 * 1024;

/// The bytes at `span` give way to `text`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Edit {
    pub span: Span,
    pub text: Bytes,
}

impl Edit {
    pub(super) const fn cut(span: Span) -> Self {
        Self { span, text: Bytes::new() }
    }

    pub(super) const fn insert(at: usize, text: Bytes) -> Self {
        Self { span: Span::new(at, at), text }
    }
}

/// Appends `body`, edited, to `out`. The edits don't overlap; their order doesn't matter.
pub(super) fn splice(body: &Bytes, edits: &mut [Edit], out: &mut Vec<Bytes>) {
    let first = out.len();
    splice_apart(body, edits, out);
    join_small(out, first);
}

/// The same for who joins the pieces of several bodies at once.
pub(super) fn splice_apart(body: &Bytes, edits: &mut [Edit], out: &mut Vec<Bytes>) {
    if edits.is_empty() {
        out.push(body.clone());
        return;
    }
    edits.sort_by_key(|edit| edit.span.start);
    let mut at = 0;
    for edit in edits {
        push(out, slice(body, at, edit.span.start));
        push(out, edit.text.clone());
        at = edit.span.end;
    }
    push(out, slice(body, at, body.len()));
}

/// Makes one segment of those from `first` on, where they are small together.
pub(super) fn join_small(out: &mut Vec<Bytes>, first: usize) {
    let Some(pieces) = out.get(first..).filter(|pieces| pieces.len() > 1) else { return };
    let length = pieces.iter().map(Bytes::len).sum();
    if length > COPY_BYTES_MAX {
        return;
    }
    let mut whole = BytesMut::with_capacity(length);
    for piece in pieces {
        whole.extend_from_slice(piece);
    }
    out.truncate(first);
    out.push(whole.freeze());
}

fn push(out: &mut Vec<Bytes>, piece: Bytes) {
    if !piece.is_empty() {
        out.push(piece);
    }
}

/// As `Bytes::slice`, empty instead of a panic where the range lies outside.
fn slice(body: &Bytes, start: usize, end: usize) -> Bytes {
    if start <= end && end <= body.len() { body.slice(start..end) } else { Bytes::new() }
}
