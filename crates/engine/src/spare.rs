//! What memory there is yet, as whoever runs the engine tells it. An allocation that fails ends the whole process: what
//! comes while it serves is weighed before it is brought in.

use std::fmt;
use std::sync::Arc;

use crate::EngineError;

/// How much may be taken yet, where that is known.
#[derive(Clone)]
pub struct Spare(Arc<dyn Fn() -> Option<u64> + Send + Sync>);

impl Spare {
    /// As it is told each time that somebody wants something.
    pub fn told(bytes: impl Fn() -> Option<u64> + Send + Sync + 'static) -> Self {
        Self(Arc::new(bytes))
    }

    /// What there is now.
    #[must_use]
    pub fn bytes(&self) -> Option<u64> {
        self.0()
    }

    pub(crate) fn check(&self, what: &'static str, wanted: u64) -> Result<(), EngineError> {
        match self.bytes() {
            Some(left) if wanted > left => Err(EngineError::Memory { what, wanted, left }),
            _ => Ok(()),
        }
    }
}

impl Default for Spare {
    fn default() -> Self {
        Self::told(|| None)
    }
}

impl fmt::Debug for Spare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Spare").field(&self.bytes()).finish()
    }
}
