//! What is left out of an array of the client's bytes.

use crate::json::Span;

/// Elements of one array that are to be cut out, with the commas that go with them.
#[derive(Debug, Default)]
pub(crate) struct Cuts {
    /// Where the last element ends that stays.
    kept_to: Option<usize>,
    /// Where those begin that go, and where the last of them ends.
    gone: Option<Span>,
    spans: Vec<Span>,
}

impl Cuts {
    pub(crate) fn keep(&mut self, element: Span) {
        if let Some(gone) = self.gone.take() {
            // The comma goes that stands before the run, or behind it where the run comes first.
            let span = match self.kept_to {
                Some(end) => Span::new(end, gone.end),
                None => Span::new(gone.start, element.start),
            };
            self.spans.push(span);
        }
        self.kept_to = Some(element.end);
    }

    pub(crate) fn cut(&mut self, element: Span) {
        let start = self.gone.map_or(element.start, |gone| gone.start);
        self.gone = Some(Span::new(start, element.end));
    }

    /// Whether nothing of the array would stay.
    pub(crate) const fn is_all(&self) -> bool {
        self.gone.is_some() && self.kept_to.is_none()
    }

    pub(crate) fn end(mut self) -> Vec<Span> {
        if let (Some(gone), Some(end)) = (self.gone, self.kept_to) {
            self.spans.push(Span::new(end, gone.end));
        }
        self.spans
    }
}
