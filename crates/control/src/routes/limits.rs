//! Rate limits of keys, projects, workspaces and end users: fields of these objects, but stored separately.

use std::sync::Arc;

use api::failure::invalid;
use api::state::Control;
use domain::{Fault, Limits, WorkspaceId};
use reconcilers::of_store;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::{Act, LimitsOf};

use crate::limits::RATE_LIMIT_MAX;

/// An absent limit is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Limits")]
pub struct LimitsForm {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = RATE_LIMIT_MAX))]
    requests_per_minute: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = RATE_LIMIT_MAX))]
    tokens_per_minute: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = RATE_LIMIT_MAX))]
    concurrent_streams: Option<u64>,
}

impl LimitsForm {
    fn checked(self, field: &'static str) -> Result<Limits, Box<Fault>> {
        for (name, value) in [
            ("requests_per_minute", self.requests_per_minute),
            ("tokens_per_minute", self.tokens_per_minute),
            ("concurrent_streams", self.concurrent_streams),
        ] {
            if value.is_some_and(|value| value == 0 || value > RATE_LIMIT_MAX) {
                let message = format!("{field}.{name} can't be {}.", value.unwrap_or_default());
                let fix = format!(
                    "Give 1 to {RATE_LIMIT_MAX}, or leave it out for no limit; revoke a key to shut it."
                );
                return Err(invalid(format!("{field}.{name}"), message, fix));
            }
        }
        Ok(Limits {
            requests_per_minute: self.requests_per_minute,
            tokens_per_minute: self.tokens_per_minute,
            concurrent_streams: self.concurrent_streams,
        })
    }
}

/// The limits in force, from the snapshot: a write returns only after the snapshot contains it.
pub fn show(control: &Control, workspace: WorkspaceId, of: &LimitsOf) -> LimitsForm {
    let snapshot = control.deps.keeper.current();
    let terms = snapshot.workspace(workspace).and_then(|workspace| workspace.terms.as_ref());
    let limits = terms.map(|terms| match of {
        LimitsOf::Subject(subject) => terms.limits.get(subject).copied().unwrap_or_default(),
        LimitsOf::EveryEndUser => terms.end_user_limits,
    });
    let Limits { requests_per_minute, tokens_per_minute, concurrent_streams } = limits.unwrap_or_default();
    LimitsForm { requests_per_minute, tokens_per_minute, concurrent_streams }
}

/// Sets the limits, waits until they are in force here, and returns them as shown.
///
/// # Errors
/// 400 for invalid limits.
pub async fn write(
    control: &Arc<Control>,
    act: Act,
    workspace: WorkspaceId,
    of: LimitsOf,
    form: Option<LimitsForm>,
) -> Result<LimitsForm, Box<Fault>> {
    let field = if of == LimitsOf::EveryEndUser { "end_user_limits" } else { "limits" };
    let form = form.unwrap_or_default();
    let limits = form.checked(field)?;
    if show(control, workspace, &of) == form {
        return Ok(form);
    }
    let written =
        control.deps.store.budgets().set_limits(workspace, of, limits, act).await.map_err(of_store)?;
    control.deps.await_published(written.version).await.map(|()| form)
}

/// Validates limits before anything is written.
pub fn check(form: Option<LimitsForm>, field: &'static str) -> Result<(), Box<Fault>> {
    form.unwrap_or_default().checked(field).map(|_| ())
}
