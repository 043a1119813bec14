//! `/v2/audit`: who did what, newest first.

use std::sync::Arc;

use http::Method;
use schemars::JsonSchema;
use serde::Serialize;
use store::AuditRow;

use crate::access::Access;
use crate::failure::of_store;
use crate::moment::Moment;
use crate::reply::Page;
use crate::request::Ask;
use crate::router::{Handled, Route};
use crate::{Control, Reply};

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/v2/audit", Access::MANAGE, list)
            .says("Lists who did what, newest first.")
            .lists::<Shown>(),
    ]
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditEntry")]
struct Shown {
    id: String,
    object: &'static str,
    at: Moment,
    /// A key, a person, or `system`.
    actor: String,
    action: String,
    target: String,
    detail: String,
    request_id: Option<String>,
}

fn show(row: &AuditRow) -> Shown {
    Shown {
        id: row.id.to_string(),
        object: "audit_entry",
        at: Moment(row.unix_ms),
        actor: row.actor.clone(),
        action: row.action.clone(),
        target: row.object.clone(),
        detail: row.detail.clone(),
        request_id: row.trace.map(|id| id.to_string()),
    }
}

fn list(control: &Arc<Control>, ask: Ask) -> Handled<'_> {
    Box::pin(async move {
        let listed =
            control.store.audit().list(Some(ask.workspace()), ask.page()?).await.map_err(of_store)?;
        Reply::json(&Page::of(listed, show))
    })
}
