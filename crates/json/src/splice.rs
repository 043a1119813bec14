//! Applies edits to the bytes of a body: slices of the original, with the inserted text between them.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

use crate::Span;

/// Below this size one copy is cheaper than another segment in every write that follows.
const COPY_UP_TO_BYTES: usize = 16 * 1024;

/// Replaces the bytes at `span` with `text`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit<'a> {
    pub span: Span,
    pub text: Cow<'a, str>,
}

impl Edit<'_> {
    #[inline]
    pub const fn cut(span: Span) -> Self {
        Self { span, text: Cow::Borrowed("") }
    }

    #[inline]
    pub const fn insert(at: usize, text: String) -> Self {
        Self { span: Span::new(at, at), text: Cow::Owned(text) }
    }
}

/// Appends `body`, edited, to `out`. The edits don't overlap; their order doesn't matter.
pub fn splice(body: &Bytes, edits: &mut [Edit<'_>], out: &mut Vec<Bytes>) {
    let added: usize = edits.iter().map(|edit| edit.text.len()).sum();
    let cut: usize = edits.iter().map(|edit| edit.span.len()).sum();
    let length = (body.len() + added).saturating_sub(cut);
    if edits.is_empty() || length > COPY_UP_TO_BYTES {
        return splice_apart(body, edits, out);
    }
    edits.sort_by_key(|edit| edit.span.start);
    let mut whole = Vec::with_capacity(length);
    let mut at = 0;
    for edit in edits {
        whole.extend_from_slice(Span::new(at, edit.span.start).of(body));
        whole.extend_from_slice(edit.text.as_bytes());
        at = edit.span.end;
    }
    whole.extend_from_slice(Span::new(at, body.len()).of(body));
    out.push(Bytes::from(whole));
}

/// The same as separate pieces, for callers that join the pieces of several bodies.
pub fn splice_apart(body: &Bytes, edits: &mut [Edit<'_>], out: &mut Vec<Bytes>) {
    if edits.is_empty() {
        out.push(body.clone());
        return;
    }
    edits.sort_by_key(|edit| edit.span.start);
    let mut at = 0;
    for edit in edits {
        push(out, slice(body, at, edit.span.start));
        push(out, Bytes::from(std::mem::take(&mut edit.text).into_owned()));
        at = edit.span.end;
    }
    push(out, slice(body, at, body.len()));
}

/// Joins the segments from `first` on into one, where they are small together.
pub fn join_small(out: &mut Vec<Bytes>, first: usize) {
    let Some(pieces) = out.get(first..).filter(|pieces| pieces.len() > 1) else { return };
    let length = pieces.iter().map(Bytes::len).sum();
    if length > COPY_UP_TO_BYTES {
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

/// As `Bytes::slice`, but empty instead of a panic where the range is out of bounds.
fn slice(body: &Bytes, start: usize, end: usize) -> Bytes {
    if start <= end && end <= body.len() { body.slice(start..end) } else { Bytes::new() }
}
