//! Checks a text that comes in pieces: the end that the next piece could make a match of is held back.

use std::rc::Rc;

use domain::CheckAction;

use crate::body::replace;
use crate::checks::{Checks, Found, Tally};
use crate::limits::{HELD_BYTES, HELD_BYTES_MAX, PLACEHOLDER_BYTES_MAX};

/// Masks what the checks find in one text of an answer.
#[derive(Debug)]
pub struct TextGuard {
    checks: Rc<Checks>,
    held: String,
}

/// The outcome of one piece.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Guarded {
    /// What may go out.
    pub text: String,
    /// Something that must not go out was found, by this name: nothing of this text follows.
    pub blocked: Option<&'static str>,
}

/// Puts back what placeholders stand for, in one text of an answer.
#[derive(Debug)]
pub struct Restored {
    /// Placeholders with their values.
    values: Rc<[(String, String)]>,
    held: String,
}

impl TextGuard {
    pub fn new(checks: Rc<Checks>) -> Self {
        Self { checks, held: String::new() }
    }

    /// Takes the next piece.
    pub fn push(&mut self, piece: &str, tally: &mut Tally) -> Guarded {
        self.held.push_str(piece);
        let found = self.checks.find(&self.held, false, false);
        let end = self.safe_end(&found);
        self.release(end, &found, tally)
    }

    /// The text is over.
    pub fn finish(&mut self, tally: &mut Tally) -> Guarded {
        let found = self.checks.find(&self.held, false, false);
        self.release(self.held.len(), &found, tally)
    }

    /// Up to where no later piece changes what is found: before the held end, at the end of a word if there is
    /// one, and not within a match.
    fn safe_end(&self, found: &[Found]) -> usize {
        let text = self.held.as_str();
        let most = text.floor_char_boundary(text.len().saturating_sub(HELD_BYTES));
        let before = text.get(..most).unwrap_or_default();
        // After a character that is no part of a number, an address or a name.
        let at = before.char_indices().rev().find(|(_, letter)| !may_be_inside(*letter));
        let end_of_word = at.map(|(at, letter)| at + letter.len_utf8());
        let mut end = end_of_word.unwrap_or(if text.len() > HELD_BYTES_MAX { most } else { 0 });
        // A match that touches the end may go on.
        for one in found.iter().rev() {
            let goes_on = one.range.end == text.len() && text.len() < HELD_BYTES_MAX;
            if one.range.start < end && (one.range.end > end || goes_on) {
                end = if goes_on || one.range.end - one.range.start < HELD_BYTES_MAX {
                    one.range.start
                } else {
                    one.range.end
                };
            }
        }
        end
    }

    fn release(&mut self, end: usize, found: &[Found], tally: &mut Tally) -> Guarded {
        let out: Vec<Found> = found.iter().filter(|one| one.range.end <= end).cloned().collect();
        let blocked = out.iter().find(|one| one.action == CheckAction::Block);
        let end = blocked.map_or(end, |one| one.range.start);
        let rest = self.held.split_off(end);
        let text = std::mem::replace(&mut self.held, rest);
        if let Some(one) = blocked {
            tally.add(one);
            self.held.clear();
            let before: Vec<Found> = out.iter().filter(|found| found.range.end <= end).cloned().collect();
            before.iter().for_each(|found| tally.add(found));
            let masked = replace(&text, &before, |found, _| placeholder(found));
            return Guarded { text: masked.unwrap_or(text), blocked: Some(one.name) };
        }
        out.iter().for_each(|found| tally.add(found));
        let masked = replace(&text, &out, |found, _| placeholder(found));
        Guarded { text: masked.unwrap_or(text), blocked: None }
    }
}

fn may_be_inside(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "._%+-@=/".contains(letter)
}

fn placeholder(found: &Found) -> String {
    format!("[{}]", found.name.to_ascii_uppercase())
}

impl Restored {
    pub fn new(values: Rc<[(String, String)]>) -> Self {
        Self { values, held: String::new() }
    }

    /// Takes the next piece; `write` writes a value as its place needs it.
    pub fn push(&mut self, piece: &str, write: impl Fn(&str) -> String) -> String {
        if self.held.is_empty() && !piece.contains('[') {
            return piece.to_owned();
        }
        self.held.push_str(piece);
        // What starts near the end and has not ended may become a placeholder.
        let open = self.held.rfind('[').filter(|at| {
            let tail = self.held.get(*at..).unwrap_or_default();
            !tail.contains(']') && tail.len() < PLACEHOLDER_BYTES_MAX
        });
        let rest = self.held.split_off(open.unwrap_or(self.held.len()));
        let text = std::mem::replace(&mut self.held, rest);
        self.restored(&text, write)
    }

    /// The text is over.
    pub fn finish(&mut self, write: impl Fn(&str) -> String) -> String {
        let text = std::mem::take(&mut self.held);
        self.restored(&text, write)
    }

    fn restored(&self, text: &str, write: impl Fn(&str) -> String) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('[') {
            let (before, from) = rest.split_at(at);
            out.push_str(before);
            let known = self.values.iter().find(|(placeholder, _)| from.starts_with(placeholder.as_str()));
            let (written, length) = match known {
                Some((placeholder, value)) => (write(value), placeholder.len()),
                None => ("[".to_owned(), 1),
            };
            out.push_str(&written);
            rest = from.get(length..).unwrap_or_default();
        }
        out.push_str(rest);
        out
    }
}

#[cfg(test)]
mod tests {
    use domain::{CheckedSide, ContentCheck, Detector};
    use proptest::prelude::*;

    use super::*;

    fn checks(action: CheckAction) -> Rc<Checks> {
        let detectors = [Detector::Email, Detector::Iban, Detector::Card, Detector::Secrets];
        let check = |detect| ContentCheck { detect, action, side: CheckedSide::Output, restores: false };
        Rc::new(Checks::compile(&detectors.map(check)).unwrap())
    }

    /// The text in pieces of these lengths, over and over.
    fn pieces<'t>(text: &'t str, lengths: &[usize]) -> Vec<&'t str> {
        let mut rest = text;
        let mut out = Vec::new();
        for length in lengths.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let end = rest.ceil_char_boundary((*length).clamp(1, rest.len()));
            let (piece, after) = rest.split_at(end);
            out.push(piece);
            rest = after;
        }
        out
    }

    fn guarded(text: &str, lengths: &[usize], action: CheckAction) -> (String, Option<&'static str>) {
        let (mut guard, mut tally, mut out) =
            (TextGuard::new(checks(action)), Tally::default(), String::new());
        for piece in pieces(text, lengths) {
            let step = guard.push(piece, &mut tally);
            out.push_str(&step.text);
            if step.blocked.is_some() {
                return (out, step.blocked);
            }
        }
        let last = guard.finish(&mut tally);
        out.push_str(&last.text);
        (out, last.blocked)
    }

    const TEXT: &str = "Dear Ann, write to ann.lee@mail.example.com and pay DE89 3704 0044 0532 0130 00, or by card 4111 1111 1111 1111. \
        The key is -----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ\n-----END PRIVATE KEY----- and that is all, \
        with some more words to the end so that nothing is held back.";

    #[test]
    fn what_is_found_is_masked_and_the_rest_goes_out() {
        let (out, _) = guarded(TEXT, &[7], CheckAction::Mask);
        assert!(
            out.starts_with(
                "Dear Ann, write to [EMAIL] and pay [IBAN], or by card [CARD]. The key is [SECRETS] and"
            ),
            "{out}"
        );
        assert!(out.ends_with("nothing is held back."), "{out}");
        let (out, blocked) = guarded(TEXT, &[7], CheckAction::Block);
        assert_eq!((out.as_str(), blocked), ("Dear Ann, write to ", Some("email")));
    }

    #[test]
    fn a_stream_is_not_held_to_its_end() {
        let (mut guard, mut tally) = (TextGuard::new(checks(CheckAction::Mask)), Tally::default());
        let first = guard.push(&"word ".repeat(100), &mut tally);
        assert!(first.text.len() >= 500 - HELD_BYTES - 5, "{}", first.text.len());
    }

    #[test]
    fn placeholders_become_what_they_stand_for() {
        let values: Rc<[(String, String)]> = [
            ("[EMAIL_1]".to_owned(), "a\"b@c.de".to_owned()),
            ("[EMAIL_10]".to_owned(), "x@y.zz".to_owned()),
        ]
        .into();
        for length in 1..12 {
            let (mut restored, mut out) = (Restored::new(Rc::clone(&values)), String::new());
            for piece in pieces("to [EMAIL_1] and [EMAIL_10], [EMAIL_2] [x] [", &[length]) {
                out.push_str(&restored.push(piece, str::to_owned));
            }
            out.push_str(&restored.finish(str::to_owned));
            assert_eq!(out, "to a\"b@c.de and x@y.zz, [EMAIL_2] [x] [", "{length}");
        }
    }

    proptest! {
        /// However the text is cut, what goes out is what one piece would have given.
        #[test]
        fn pieces_make_no_difference(lengths in proptest::collection::vec(1_usize..40, 1..8), from in 0_usize..60) {
            let text = &TEXT[TEXT.ceil_char_boundary(from)..];
            let whole = guarded(text, &[text.len()], CheckAction::Mask);
            prop_assert_eq!(guarded(text, &lengths, CheckAction::Mask), whole);
        }
    }
}
