//! Removes elements from a JSON array in the client's bytes.

use crate::Span;

/// Array elements to remove, with the commas that belong to them.
#[derive(Debug, Default)]
pub struct Cuts {
    /// Where the last kept element ends.
    kept_to: Option<usize>,
    /// The run of removed elements since then: the start of the first, and the end of the last.
    gone: Option<Span>,
    spans: Vec<Span>,
}

impl Cuts {
    pub fn keep(&mut self, element: Span) {
        if let Some(gone) = self.gone.take() {
            // The comma before the run goes with it, or the one after it where the run comes first.
            let span = match self.kept_to {
                Some(end) => Span::new(end, gone.end),
                None => Span::new(gone.start, element.start),
            };
            self.spans.push(span);
        }
        self.kept_to = Some(element.end);
    }

    pub fn cut(&mut self, element: Span) {
        let start = self.gone.map_or(element.start, |gone| gone.start);
        self.gone = Some(Span::new(start, element.end));
    }

    /// Whether every element is removed.
    pub const fn is_all(&self) -> bool {
        self.gone.is_some() && self.kept_to.is_none()
    }

    pub fn end(mut self) -> Vec<Span> {
        if let (Some(gone), Some(end)) = (self.gone, self.kept_to) {
            self.spans.push(Span::new(end, gone.end));
        }
        self.spans
    }
}
