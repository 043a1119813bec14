//! What was written of one choice, and where its open parts go.

use domain::PartKind;
use domain::prompt::Json;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DeltaField {
    Text,
    Refusal,
    Call {
        index: u32,
        is_custom: bool,
    },
    Thought,
    /// The format has no field for it.
    Unsupported,
}

#[derive(Debug, Default)]
pub(super) struct ChoiceWriting {
    pub(super) number: u32,
    pub(super) has_role: bool,
    pub(super) has_refusal: bool,
    calls: u32,
    pub(super) open: Vec<(u32, DeltaField)>,
    /// Open parts that have content.
    with_content: Vec<u32>,
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
    pub(super) fn started(number: u32) -> Self {
        Self { number, has_role: true, ..Self::default() }
    }

    pub(super) fn assign_field(&mut self, kind: &PartKind) -> DeltaField {
        match kind {
            PartKind::Text => DeltaField::Text,
            PartKind::Refusal => {
                self.has_refusal = true;
                DeltaField::Refusal
            }
            PartKind::Call { is_custom, .. } => {
                self.calls += 1;
                DeltaField::Call { index: self.calls - 1, is_custom: *is_custom }
            }
            PartKind::Thought { .. } => DeltaField::Thought,
            PartKind::Image { .. } | PartKind::Redacted | PartKind::Foreign { .. } => DeltaField::Unsupported,
        }
    }

    /// For a part that was forwarded so far. It is unknown whether a call had arguments yet, so nothing is
    /// added to it.
    pub(super) fn resume(&mut self, kind: &PartKind) -> DeltaField {
        match self.assign_field(kind) {
            DeltaField::Call { .. } => DeltaField::Unsupported,
            field => field,
        }
    }

    pub(super) fn field_of(&self, part: u32) -> Option<DeltaField> {
        self.open.iter().find(|(open, _)| *open == part).map(|(_, field)| *field)
    }

    pub(super) fn note(&mut self, part: u32) {
        if !self.with_content.contains(&part) {
            self.with_content.push(part);
        }
    }

    /// Where the part went, and whether it is empty.
    pub(super) fn close(&mut self, part: u32) -> Option<(DeltaField, bool)> {
        let field = self.field_of(part)?;
        let is_empty = !self.with_content.contains(&part);
        self.open.retain(|(open, _)| *open != part);
        self.with_content.retain(|other| *other != part);
        Some((field, is_empty))
    }
}
