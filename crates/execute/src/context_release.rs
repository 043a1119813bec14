//! Deletes the caches by name of a project that has them no more, since `caching` or a policy was changed: with its next
//! request, as well as that goes. What fails ends by itself.

use domain::Operation;
use plan::Attempt;

use crate::exchange::Exchange;
use crate::poll_stored::{self, StoredPoll};
use crate::verify::VerifyTarget;

/// Deletes what the project has at this seat, beside the request. Deletions cost nothing, and are not in the books.
pub(crate) fn release(exchange: &Exchange, attempt: &Attempt) {
    let (workspace, project) = (exchange.caller.workspace().id, exchange.caller.project().id);
    let table = exchange.deps.board.prefixes(workspace, exchange.now_us());
    let ids = table.contexts().take(project, attempt.principal());
    if ids.is_empty() {
        return;
    }
    let target = VerifyTarget {
        seat: attempt.seat().clone(),
        provider: attempt.provider().into(),
        base_url: attempt.base_url().into(),
    };
    let deps = exchange.deps.clone();
    tasks::spawn_on_core(async move {
        for id in ids {
            let operation = Operation::CachedContent;
            let poll = StoredPoll { operation, id: id.to_string(), is_content: false };
            if let Err(failure) = poll_stored::delete(&target, poll, &deps).await {
                tracing::debug!(error = %failure.fault, "a context cache wasn't deleted; it will expire");
            }
        }
    });
}
