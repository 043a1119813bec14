//! `/v2/audit`: who did what, newest first.

use std::sync::Arc;

use http::Method;
use serde_json::json;

use crate::access::Access;
use crate::failure::of_store;
use crate::reply::Page;
use crate::request::Ask;
use crate::router::{Handled, Route};
use crate::{Control, Reply, moment};

pub fn routes() -> Vec<Route> {
    vec![Route::new(Method::GET, "/v2/audit", Access::MANAGE, list)]
}

fn list(control: &Arc<Control>, ask: Ask) -> Handled<'_> {
    Box::pin(async move {
        ask.only_query(&["limit", "cursor"])?;
        let listed =
            control.store.audit().list(Some(ask.workspace()), ask.page()?).await.map_err(of_store)?;
        Reply::json(&Page::of(listed, |row| {
            json!({
                "id": row.id.to_string(),
                "object": "audit_entry",
                "at": moment::write(row.unix_ms),
                "actor": row.actor,
                "action": row.action,
                "target": row.object,
                "detail": row.detail,
                "request_id": row.trace.map(|id| id.to_string()),
            })
        }))
    })
}
