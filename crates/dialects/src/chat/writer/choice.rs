//! What was written of one choice, and where its open parts go.

use domain::PartKind;
use domain::prompt::Json;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Text,
    Refusal,
    Call {
        index: u32,
        is_custom: bool,
    },
    Thought,
    /// The format has no field for it.
    Unsaid,
}

#[derive(Debug, Default)]
pub(super) struct ChoiceWriting {
    pub(super) number: u32,
    pub(super) has_role: bool,
    pub(super) has_refusal: bool,
    calls: u32,
    pub(super) open: Vec<(u32, Place)>,
    /// Open parts that have content.
    said: Vec<u32>,
    /// Logprobs of tokens whose text has not come yet.
    pub(super) logprobs: Vec<Json>,
}

/// The choice with this index, created where it does not exist.
pub(super) fn of(choices: &mut Vec<ChoiceWriting>, number: u32) -> &mut ChoiceWriting {
    let at = choices.iter().position(|choice| choice.number == number).unwrap_or_else(|| {
        choices.push(ChoiceWriting { number, ..ChoiceWriting::default() });
        choices.len() - 1
    });
    #[expect(clippy::indexing_slicing, reason = "the place was found, or made, just now")]
    &mut choices[at]
}

impl ChoiceWriting {
    /// A choice whose start was forwarded from the upstream.
    pub(super) fn begun(number: u32) -> Self {
        Self { number, has_role: true, ..Self::default() }
    }

    pub(super) fn place(&mut self, kind: &PartKind) -> Place {
        match kind {
            PartKind::Text => Place::Text,
            PartKind::Refusal => {
                self.has_refusal = true;
                Place::Refusal
            }
            PartKind::Call { is_custom, .. } => {
                self.calls += 1;
                Place::Call { index: self.calls - 1, is_custom: *is_custom }
            }
            PartKind::Thought { .. } => Place::Thought,
            PartKind::Redacted | PartKind::Foreign { .. } => Place::Unsaid,
        }
    }

    /// For a part that was forwarded so far. It is unknown whether a call had arguments yet, so nothing is
    /// added to it.
    pub(super) fn resume(&mut self, kind: &PartKind) -> Place {
        match self.place(kind) {
            Place::Call { .. } => Place::Unsaid,
            place => place,
        }
    }

    pub(super) fn place_of(&self, part: u32) -> Option<Place> {
        self.open.iter().find(|(open, _)| *open == part).map(|(_, place)| *place)
    }

    pub(super) fn note(&mut self, part: u32) {
        if !self.said.contains(&part) {
            self.said.push(part);
        }
    }

    /// Where the part went, and whether it is empty.
    pub(super) fn close(&mut self, part: u32) -> Option<(Place, bool)> {
        let place = self.place_of(part)?;
        let is_empty = !self.said.contains(&part);
        self.open.retain(|(open, _)| *open != part);
        self.said.retain(|said| *said != part);
        Some((place, is_empty))
    }
}
