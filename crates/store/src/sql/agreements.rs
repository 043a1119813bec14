//! What the audit log says of a changed contract; its columns are written by `columns::agreement`.

use domain::{Agreement, Rates};

/// The audit detail of a change to these facts: which ones changed, never their values.
pub(super) fn change_detail(
    before: (&Agreement, &Vec<(String, Rates)>),
    after: (&Agreement, &Vec<(String, Rates)>),
) -> String {
    let pricing = (before.1 != after.1).then_some("pricing");
    let names: Vec<_> = before.0.changed(after.0).into_iter().chain(pricing).collect();
    if names.is_empty() { String::new() } else { format!(", other {}", names.join(", ")) }
}
