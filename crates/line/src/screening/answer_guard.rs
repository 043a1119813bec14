//! Guards an answer: checks the text of its events, and puts back what was masked in the request.

use std::cell::RefCell;
use std::rc::Rc;

use conversation::screening::{AnswerGuard, GuardAnswers};
use domain::{CheckAction, CheckCount, Event, Finish, PartKind, Reason};
use guardrails::{Checks, Restored, Tally, TextGuard, escaped, is_clear};

use super::note;

/// What the answers of one request are guarded with.
#[derive(Debug)]
pub(super) struct Guard {
    checks: Rc<Checks>,
    /// Placeholders of the request with their values.
    values: Rc<[(String, String)]>,
    found: Rc<RefCell<Vec<CheckCount>>>,
}

/// One answer.
#[derive(Debug)]
struct Guarding {
    checks: Option<Rc<Checks>>,
    values: Rc<[(String, String)]>,
    found: Rc<RefCell<Vec<CheckCount>>>,
    open: Vec<PartGuard>,
    /// Choices that ended early.
    blocked: Vec<u32>,
}

/// One open part.
#[derive(Debug)]
struct PartGuard {
    choice: u32,
    part: u32,
    text: Option<TextGuard>,
    restored: Option<Restored>,
    /// Its text is JSON, so that values in it are escaped.
    is_json: bool,
}

impl Guard {
    pub(super) fn new(
        checks: Rc<Checks>,
        values: Rc<[(String, String)]>,
        found: Rc<RefCell<Vec<CheckCount>>>,
    ) -> Self {
        Self { checks, values, found }
    }
}

impl GuardAnswers for Guard {
    fn guard(&self) -> Box<dyn AnswerGuard> {
        Box::new(Guarding {
            checks: self.checks.covers_output().then(|| Rc::clone(&self.checks)),
            values: Rc::clone(&self.values),
            found: Rc::clone(&self.found),
            open: Vec::new(),
            blocked: Vec::new(),
        })
    }

    fn only_counts(&self) -> bool {
        self.values.is_empty() && !self.checks.enforces_output()
    }

    fn clears(&self, body: &[u8]) -> bool {
        // What was masked in the request begins with a bracket.
        is_clear(&self.checks, body, (!self.values.is_empty()).then_some('['))
    }
}

impl AnswerGuard for Guarding {
    fn apply(&mut self, events: &mut Vec<Event>) {
        let taken = std::mem::take(events);
        for event in taken {
            self.take(event, events);
        }
    }
}

impl Guarding {
    fn take(&mut self, event: Event, out: &mut Vec<Event>) {
        if choice_of(&event).is_some_and(|choice| self.blocked.contains(&choice)) {
            return;
        }
        match event {
            Event::Begin { choice, part, kind } => {
                if !self.is_foreign_allowed(&kind) {
                    return;
                }
                let is_json = matches!(kind, PartKind::Call { is_custom: false, .. });
                let text = self.checks.as_ref().map(|checks| TextGuard::new(Rc::clone(checks)));
                let restored = (!self.values.is_empty()).then(|| Restored::new(Rc::clone(&self.values)));
                self.open.push(PartGuard { choice, part, text, restored, is_json });
                out.push(Event::Begin { choice, part, kind });
            }
            Event::Delta { choice, part, text } => self.pass(choice, part, Some(&text), out),
            Event::End { choice, part } => {
                self.pass(choice, part, None, out);
                if !self.blocked.contains(&choice) {
                    self.open.retain(|one| (one.choice, one.part) != (choice, part));
                    out.push(Event::End { choice, part });
                }
            }
            // Both repeat text.
            Event::Logprobs { .. } if self.enforces() => {}
            Event::Citation { ref json, .. } if self.enforces() && self.finds_in(&json.0) => {}
            other => out.push(other),
        }
    }

    fn enforces(&self) -> bool {
        self.checks.as_ref().is_some_and(|checks| checks.enforces_output())
    }

    fn finds_in(&self, text: &str) -> bool {
        let found = self.checks.as_ref().map(|checks| checks.find(text, false, true)).unwrap_or_default();
        found.iter().any(|one| one.action != CheckAction::Flag)
    }

    /// A part in its provider's own format is passed on whole or not at all.
    fn is_foreign_allowed(&self, kind: &PartKind) -> bool {
        match kind {
            PartKind::Foreign { json, .. } => !self.enforces() || !self.finds_in(&json.0),
            _ => true,
        }
    }

    /// The next piece of a part, or its end.
    fn pass(&mut self, choice: u32, part: u32, piece: Option<&str>, out: &mut Vec<Event>) {
        let known = self.open.iter_mut().find(|one| (one.choice, one.part) == (choice, part));
        let Some(guard) = known else {
            out.extend(piece.map(|text| Event::Delta { choice, part, text: text.to_owned() }));
            return;
        };
        let mut tally = Tally::default();
        let (text, blocked) = guard.next(piece, &mut tally);
        note(&mut self.found.borrow_mut(), &tally, false);
        if !text.is_empty() {
            out.push(Event::Delta { choice, part, text });
        }
        if blocked {
            self.block(choice, out);
        }
    }

    /// Ends a choice as filtered content is ended: what was sent of it stays, and nothing follows.
    fn block(&mut self, choice: u32, out: &mut Vec<Event>) {
        let ended = self.open.iter().filter(|one| one.choice == choice);
        out.extend(ended.map(|one| Event::End { choice, part: one.part }));
        self.open.retain(|one| one.choice != choice);
        self.blocked.push(choice);
        out.push(Event::Finish { choice, finish: Finish::of(Reason::ContentFilter) });
    }
}

impl PartGuard {
    fn next(&mut self, piece: Option<&str>, tally: &mut Tally) -> (String, bool) {
        let (text, blocked) = match (&mut self.text, piece) {
            (Some(guard), Some(piece)) => {
                let step = guard.push(piece, tally);
                (step.text, step.blocked.is_some())
            }
            (Some(guard), None) => {
                let step = guard.finish(tally);
                (step.text, step.blocked.is_some())
            }
            (None, piece) => (piece.unwrap_or_default().to_owned(), false),
        };
        let is_json = self.is_json;
        let write = |value: &str| if is_json { escaped(value) } else { value.to_owned() };
        let Some(restored) = &mut self.restored else { return (text, blocked) };
        let mut out = restored.push(&text, write);
        if piece.is_none() || blocked {
            out.push_str(&restored.finish(write));
        }
        (out, blocked)
    }
}

const fn choice_of(event: &Event) -> Option<u32> {
    match event {
        Event::Begin { choice, .. }
        | Event::Delta { choice, .. }
        | Event::Signature { choice, .. }
        | Event::Citation { choice, .. }
        | Event::Logprobs { choice, .. }
        | Event::End { choice, .. }
        | Event::Finish { choice, .. } => Some(*choice),
        Event::Start { .. } | Event::Usage(_) | Event::Done => None,
    }
}

#[cfg(test)]
mod tests {
    use domain::{CheckedSide, ContentCheck, Detector};

    use super::*;

    fn guarded(action: CheckAction, values: &[(&str, &str)], events: Vec<Event>) -> (Vec<Event>, u64) {
        let check =
            ContentCheck { detect: Detector::Email, action, side: CheckedSide::Output, restores: false };
        let values: Vec<_> =
            values.iter().map(|(mark, value)| ((*mark).to_owned(), (*value).to_owned())).collect();
        let found = Rc::new(RefCell::new(Vec::new()));
        let guard = Guard::new(Rc::new(Checks::compile(&[check]).unwrap()), values.into(), Rc::clone(&found));
        assert_eq!(guard.only_counts(), action == CheckAction::Flag && guard.values.is_empty());
        let body = format!(r#"{{"content":"{}"}}"#, escaped(&text_of(&events)));
        let is_cleared = guard.clears(body.as_bytes());
        let before = text_of(&events);
        let mut guarding = guard.guard();
        let mut out = Vec::new();
        for event in events {
            let mut one = vec![event];
            guarding.apply(&mut one);
            out.extend(one);
        }
        let count = found.borrow().iter().map(|one| one.count).sum();
        assert_eq!(
            is_cleared,
            count == 0 && text_of(&out) == before,
            "what is clear is what would not be touched: {body}"
        );
        (out, count)
    }

    fn text_of(events: &[Event]) -> String {
        let text = |event: &Event| match event {
            Event::Delta { text, .. } => text.clone(),
            _ => String::new(),
        };
        events.iter().map(text).collect()
    }

    fn answer(kind: PartKind, pieces: &[&str]) -> Vec<Event> {
        let mut events = vec![Event::Begin { choice: 0, part: 0, kind }];
        events.extend(pieces.iter().map(|piece| Event::Delta { choice: 0, part: 0, text: (*piece).into() }));
        events.extend([
            Event::End { choice: 0, part: 0 },
            Event::Finish { choice: 0, finish: Finish::of(Reason::Stop) },
            Event::Done,
        ]);
        events
    }

    #[test]
    fn an_address_is_masked_across_pieces_and_counted_once() {
        let (out, count) =
            guarded(CheckAction::Mask, &[], answer(PartKind::Text, &["to ann@exam", "ple.com", " now"]));
        assert_eq!((text_of(&out).as_str(), count), ("to [EMAIL] now", 1));
        assert_eq!(out.last(), Some(&Event::Done));
    }

    #[test]
    fn a_block_ends_the_answer_as_filtered() {
        let (out, _) = guarded(CheckAction::Block, &[], answer(PartKind::Text, &["to ann@example.com now"]));
        assert_eq!(text_of(&out), "to ");
        let ends: Vec<_> = out.iter().filter(|event| matches!(event, Event::Finish { .. })).collect();
        assert_eq!(ends, [&Event::Finish { choice: 0, finish: Finish::of(Reason::ContentFilter) }]);
        assert_eq!(out.last(), Some(&Event::Done));
    }

    #[test]
    fn what_was_masked_in_the_request_is_put_back() {
        let values = [("[EMAIL_1]", "a\"b@c.de")];
        let call = PartKind::Call { id: "c".into(), name: "f".into(), is_custom: false };
        let (out, _) = guarded(CheckAction::Flag, &values, answer(call, &[r#"{"to":"[EMA"#, r#"IL_1]"}"#]));
        assert_eq!(text_of(&out), r#"{"to":"a\"b@c.de"}"#);
        let (out, _) = guarded(CheckAction::Flag, &values, answer(PartKind::Text, &["to [EMAIL_", "1]"]));
        assert_eq!(text_of(&out), "to a\"b@c.de");
    }

    #[test]
    fn what_holds_nothing_is_clear() {
        for action in [CheckAction::Flag, CheckAction::Mask, CheckAction::Block] {
            let long =
                "of words alone, and long enough that a stream would hold none of it back at its end. "
                    .repeat(3);
            let (out, count) = guarded(action, &[("[EMAIL_1]", "a@b.de")], answer(PartKind::Text, &[&long]));
            assert_eq!((text_of(&out), count), (long, 0));
        }
    }
}
