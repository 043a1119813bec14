//! Why nothing was run.

use domain::Fault;

use crate::input::InputError;

/// Why nothing was run. No tab is open yet, so nothing is booked.
pub(crate) enum Refusal {
    Fault(Box<Fault>),
    /// The input does not match its schema.
    Input(Vec<InputError>),
}

impl From<Box<Fault>> for Refusal {
    fn from(fault: Box<Fault>) -> Self {
        Self::Fault(fault)
    }
}
