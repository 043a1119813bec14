//! A choice's output as parts, each with a begin event, deltas and an end event.

use domain::{Event, PartKind};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prose {
    Text,
    Thought,
}

#[derive(Debug)]
pub(super) struct Parts {
    choice: u32,
    next: u32,
    open: Option<(u32, Option<Prose>)>,
}

impl Parts {
    pub(super) const fn new(choice: u32) -> Self {
        Self { choice, next: 0, open: None }
    }

    pub(super) const fn choice(&self) -> u32 {
        self.choice
    }

    pub(super) fn has(&self, prose: Prose) -> bool {
        self.open.is_some_and(|(_, open)| open == Some(prose))
    }

    /// Emits more answer text or reasoning; begins a part if none of that kind is open.
    pub(super) fn say(&mut self, prose: Prose, text: String, out: &mut Vec<Event>) {
        if text.is_empty() {
            return;
        }
        if !self.has(prose) {
            let kind = match prose {
                Prose::Text => PartKind::Text,
                Prose::Thought => PartKind::Thought { is_summary: false, id: None },
            };
            self.begin(kind, Some(prose), out);
        }
        self.more(text, out);
    }

    pub(super) fn call(&mut self, id: String, name: String, out: &mut Vec<Event>) {
        self.begin(PartKind::Call { id, name, is_custom: false }, None, out);
    }

    /// Emits a delta of the open part.
    pub(super) fn more(&self, text: String, out: &mut Vec<Event>) {
        if let Some((part, _)) = self.open.filter(|_| !text.is_empty()) {
            out.push(Event::Delta { choice: self.choice, part, text });
        }
    }

    pub(super) fn close(&mut self, out: &mut Vec<Event>) {
        if let Some((part, _)) = self.open.take() {
            out.push(Event::End { choice: self.choice, part });
        }
    }

    fn begin(&mut self, kind: PartKind, prose: Option<Prose>, out: &mut Vec<Event>) {
        self.close(out);
        out.push(Event::Begin { choice: self.choice, part: self.next, kind });
        self.open = Some((self.next, prose));
        self.next += 1;
    }
}
