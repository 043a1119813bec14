//! Whether a new batch that no credential of its project's own takes may be its provider's own batch on an account that
//! workspaces share.

use admit::{Caller, bounds_of};
use bytes::Bytes;
use conversation::own_batch::OwnBatches;
use decode::{Call, requests_file};
use dialects::{SharedAccount, check_shared};
use domain::{Fault, Operation};
use plan::has_no_credential;

/// The requests that are read before others on this core have their turn.
const READ_AT_ONCE: usize = 64;

/// Whether it may. What it uses is known only when it has ended, and nothing of it is held until then: so where any budget
/// or limit binds its caller, the gateway works through it, one request after the other. Policies that check content or
/// forbid that anything is kept are as strict with a shared account as with any other upstream, and would not see its
/// requests here.
pub(crate) async fn may_be(format: &dyn OwnBatches, call: &Call, caller: &Caller, fault: &Fault) -> bool {
    if !has_no_credential(fault) || !has_account(caller) || is_bound(call, caller) {
        return false;
    }
    if call.is_made_from_file() {
        // Its requests were read when it was uploaded; the plan knows by which name such a file is stored.
        return true;
    }
    let Some(items) = requests(call).and_then(|content| format.poolable(&content)) else { return false };
    for some in items.chunks(READ_AT_ONCE) {
        if !some.iter().all(|item| format.may_be_pooled(item) && names_nothing_kept(format, call, item)) {
            return false;
        }
        tokio::task::yield_now().await;
    }
    true
}

/// The text that has the requests, if all are to one model. The gateway keeps a file of which a part is still to come.
fn requests(call: &Call) -> Option<Bytes> {
    let Some(form) = call.request().form() else {
        return call.request().batch()?.is_of_one_model().then(|| call.body().clone());
    };
    let is_of_one_model = form.batch_models.as_ref().is_some_and(|models| models.len() == 1);
    let is_plain = form.files == 1 && form.unknown.is_none() && call.request().model.is_empty();
    let file = requests_file(&form.boundary, call.body())?;
    (is_of_one_model && is_plain && call.upload().is_none()).then(|| call.body().slice_ref(file.content))
}

/// Whether the operator shares any account for batches.
fn has_account(caller: &Caller) -> bool {
    caller.snapshot().accounts().iter().any(|account| account.hosting.shared_batches && !account.disabled)
}

fn is_bound(call: &Call, caller: &Caller) -> bool {
    let bounds = bounds_of(call, caller);
    let is_metered = bounds.is_some_and(|bounds| !bounds.budgets.is_empty() || !bounds.limits.is_empty());
    let terms = caller.workspace().terms.as_ref();
    is_metered || terms.is_some_and(|terms| terms.depends_on_end_user()) || caller.project().policy.is_some()
}

/// As each request is checked that is sent there alone.
fn names_nothing_kept(format: &dyn OwnBatches, call: &Call, item: &Bytes) -> bool {
    let Some(request) = format.read_item(item) else { return false };
    let seat = SharedAccount { is_forwarded: true, is_exchanged: &|_| false, is_own_host: &|_| true };
    check_shared(call.dialect().grammar(), Operation::Chat, &request.body, &seat).is_ok()
}
