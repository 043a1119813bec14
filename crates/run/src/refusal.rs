//! Why nothing was run.

use domain::Fault;
use line::UnmetNeed;

use crate::input::InputError;
use crate::problem;

/// Why nothing was run. No tab is open yet, so nothing is booked.
pub(crate) enum Refusal {
    Fault(Box<Fault>),
    /// The input does not match its schema.
    Input(Vec<InputError>),
    /// What the app needs is missing: each with how it is added.
    Unmet(Vec<UnmetNeed>),
}

impl Refusal {
    /// The same where no document lists what is wrong with the input.
    pub(crate) fn into_fault(self) -> Box<Fault> {
        match self {
            Self::Fault(fault) => fault,
            Self::Input(errors) => Box::new(problem::fault(&errors)),
            Self::Unmet(missing) => Box::new(problem::requirements_not_met(&missing)),
        }
    }
}

impl From<Box<Fault>> for Refusal {
    fn from(fault: Box<Fault>) -> Self {
        Self::Fault(fault)
    }
}
