//! Available memory, as reported by the embedding program. A failed allocation aborts the process, so
//! whatever is loaded while it serves is checked against this first.

use std::fmt;
use std::sync::Arc;

use crate::error::WeightsError;

/// How many bytes may still be allocated, where that is known.
#[derive(Clone)]
pub struct AvailableMemory(Arc<dyn Fn() -> Option<u64> + Send + Sync>);

impl AvailableMemory {
    /// Calls `bytes` each time memory is requested.
    pub fn new(bytes: impl Fn() -> Option<u64> + Send + Sync + 'static) -> Self {
        Self(Arc::new(bytes))
    }

    /// What is available now.
    pub fn bytes(&self) -> Option<u64> {
        self.0()
    }

    /// # Errors
    /// Less is available.
    pub fn check(&self, what: &'static str, wanted: u64) -> Result<(), WeightsError> {
        match self.bytes() {
            Some(left) if wanted > left => Err(WeightsError::Memory { what, wanted, left }),
            _ => Ok(()),
        }
    }
}

impl Default for AvailableMemory {
    fn default() -> Self {
        Self::new(|| None)
    }
}

impl fmt::Debug for AvailableMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AvailableMemory").field(&self.bytes()).finish()
    }
}
