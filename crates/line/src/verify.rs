//! Whether a credential, an account or a node works: the cheapest real call, made like every other through egress.

use std::rc::Rc;

pub use execute::{ProbeReport as VerifyReport, ProbeTarget as VerifyTarget};

use crate::Core;

/// Makes the call and reports. The secret is opened for it and wiped, and the opening is audited by the vault; what is
/// stored of the result is the caller's affair. Nothing is generated, so nothing is metered.
pub async fn verify(core: &Rc<Core>, target: VerifyTarget) -> VerifyReport {
    execute::probe(&target, &core.hands).await
}
