//! Which limits and budgets apply to a request: those of its key, project, workspace and end user.

use decode::Call;
use domain::{Subject, Terms};
use ledger::{Bounds, CoreAllowances, Refused, Reservation};

use crate::Caller;

/// Estimated bytes per prompt token, for the token rate limit; settling corrects the estimate.
const PROMPT_BYTES_PER_TOKEN: u64 = 4;
/// Estimated answer length where the request sets no maximum.
const ANSWER_TOKENS: u64 = 256;

/// Takes the request's share of its limits and budgets; `None` where the workspace has none.
pub(crate) fn reserve(
    call: &Call,
    caller: &Caller,
    end_user: Option<&str>,
    allowances: &CoreAllowances,
    now_us: u64,
) -> Result<Option<Box<Reservation>>, Box<Refused>> {
    let Some(bounds) = of(call, caller, end_user) else { return Ok(None) };
    Reservation::take(allowances, caller.workspace().id, bounds, now_us, call.received_unix_ms())
}

/// The limits and budgets that apply to a request; `None` where the workspace has none.
pub(crate) fn of(call: &Call, caller: &Caller, end_user: Option<&str>) -> Option<Bounds> {
    let terms = caller.workspace().terms.as_ref()?;
    let mut bounds = Bounds { tokens: expected_tokens(call), ..Bounds::default() };
    for subject in subjects(caller, end_user, terms).into_iter().flatten() {
        bounds.budgets.extend(terms.budgets.get(&subject).into_iter().flatten().cloned());
        let limits = match subject {
            Subject::EndUser(_) => Some(&terms.end_user_limits).filter(|limits| !limits.is_empty()),
            _ => terms.limits.get(&subject),
        };
        if let Some(limits) = limits {
            bounds.limits.push((subject, *limits));
        }
    }
    bounds.commitments.extend(terms.commitments.iter().cloned());
    // In the same order on every replica and core.
    bounds.budgets.sort_by_key(|budget| budget.id);
    Some(bounds)
}

fn subjects(caller: &Caller, end_user: Option<&str>, terms: &Terms) -> [Option<Subject>; 4] {
    let end_user = end_user.filter(|_| terms.depends_on_end_user());
    [
        caller.key().map(|key| Subject::Key(key.id)),
        Some(Subject::Project(caller.project().id)),
        Some(Subject::Workspace),
        end_user.map(|name| Subject::EndUser(name.into())),
    ]
}

fn expected_tokens(call: &Call) -> u64 {
    let chat = call.request();
    let answer =
        chat.max_output_tokens.unwrap_or(ANSWER_TOKENS).saturating_mul(u64::from(chat.choices.max(1)));
    chat.prompt_bytes.div_ceil(PROMPT_BYTES_PER_TOKEN).saturating_add(answer)
}
