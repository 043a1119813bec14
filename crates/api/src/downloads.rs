//! Audit entries of downloads: who took a list along as a file, and which part of it. Lists that are only read leave none.

use domain::Fault;
use domain::limits::RECORD_TEXT_BYTES_MAX;
use domain::ports::AuditEntry;
use http::Method;
use reconcilers::{Deps, of_store};
use store::AuditRow;

use crate::reply::Reply;
use crate::request::ApiRequest;

const ACTION: &str = "export.read";

/// A request that may be one for a file.
pub(crate) struct Download {
    row: AuditRow,
}

impl Download {
    /// `None` for a request that is none, and for the further pages of one: the first stands for all.
    pub(crate) fn of(deps: &Deps, method: &Method, path: &str, request: &ApiRequest) -> Option<Self> {
        let is_first_page = *method == Method::GET && !request.query.contains_key("cursor");
        if !is_first_page || request.is_rehearsal {
            return None;
        }
        let act = request.act(&deps.world);
        let wanted = request.query.iter().map(|(name, value)| format!("{name}={value}"));
        let mut detail = wanted.collect::<Vec<_>>().join(", ");
        detail.truncate(detail.floor_char_boundary(RECORD_TEXT_BYTES_MAX));
        let entry = AuditEntry {
            workspace: Some(request.workspace()),
            actor: act.actor,
            action: ACTION,
            object: path.to_owned(),
            detail,
            trace: act.trace,
        };
        Some(Self { row: AuditRow::new(act.id, act.unix_ms, entry) })
    }

    /// Writes the entry if the reply is a file: without it, nobody gets one.
    pub(crate) async fn audit(self, deps: &Deps, reply: &Reply) -> Result<(), Box<Fault>> {
        if !reply.is_file() {
            return Ok(());
        }
        deps.store.audit().append(vec![self.row]).await.map_err(of_store)
    }
}
