//! What providers say of what they started.

use crate::record::Handle;
use crate::spec::Rate;

/// Whether what was started is still there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Running,
    /// It is not ready yet, as the provider says.
    Starting,
    Ended(String),
    /// Nobody can tell now.
    Unknown(String),
}

/// What a provider says of what it started.
#[derive(Debug)]
pub(crate) struct Started {
    pub handle: Handle,
    pub address: Option<String>,
    pub rate: Option<Rate>,
}
