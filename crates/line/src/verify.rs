//! Whether a credential, an account or a node works, and what its server takes: calls of our own, made like every other
//! through egress.

use std::rc::Rc;

use domain::{Fault, Probed};
use execute::{KeptLook, Shown};
pub use execute::{RuntimeAsk, RuntimeSaid, VerifyReport, VerifyTarget, is_probed};

use crate::Core;

/// Makes the call and reports. The secret is opened for it and wiped, and the opening is audited by the vault; what is
/// stored of the result is the caller's affair. Nothing is generated, so nothing is metered.
pub async fn verify(core: &Rc<Core>, target: VerifyTarget) -> VerifyReport {
    execute::verify(&target, &core.hands).await
}

/// Asks a compatible server what it takes, with a handful of small calls. Its answers are of a few words, which whoever
/// runs the server may bill: they are in no book of ours. `models` are those that are known to be served there.
pub async fn probe(core: &Rc<Core>, target: VerifyTarget, models: Vec<String>) -> Probed {
    execute::probe(&target, &models, &core.hands).await
}

/// Looks at what a provider keeps, for the books. What is shown goes as it comes to whoever asked.
pub async fn look(core: &Rc<Core>, target: VerifyTarget, asked: KeptLook, shown: Shown) {
    execute::look(&target, asked, &shown, &core.hands).await;
}

/// Asks a runtime of ours what it runs, or has it do something that a person wants.
///
/// # Errors
/// It could not be asked, or did not answer in time.
pub async fn ask_runtime(
    core: &Rc<Core>,
    target: VerifyTarget,
    asked: RuntimeAsk,
) -> Result<RuntimeSaid, Box<Fault>> {
    execute::ask_runtime(&target, asked, &core.hands).await
}
