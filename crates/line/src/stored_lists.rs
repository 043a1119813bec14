//! Lists a project's files, batches and videos at providers from our own records, since a provider account
//! may be shared with other projects.

use admit::Caller;
use conversation::objects::ObjectPage;
use dialects::stored_objects;
use domain::{
    Dialect, Fault, FaultClass, ObjectListQuery, ObjectOwner, StoredKind, StoredObjectKind, TraceId,
};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use relay::served_headers;
use settle::{ReplyBody, whole};

use crate::{Core, refuse};

/// Lists the objects of one kind that the caller's project made, in the format of `dialect`. `query` is the
/// raw query string.
pub async fn list_objects(
    core: &Core,
    caller: &Caller,
    (dialect, kind): (Dialect, StoredKind),
    query: &str,
    trace: TraceId,
) -> Response<ReplyBody> {
    match read_page(core, caller, StoredObjectKind::of(dialect, kind), query).await {
        Ok(body) => {
            let mut headers = served_headers(trace, None);
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            core.counters.answered(200);
            whole(StatusCode::OK, headers, body.into())
        }
        Err(fault) => refuse(core, dialect, &fault, trace),
    }
}

async fn read_page(
    core: &Core,
    caller: &Caller,
    kind: StoredObjectKind,
    query: &str,
) -> Result<String, Box<Fault>> {
    let owner = ObjectOwner { workspace: caller.workspace().id, project: caller.project().id };
    let format = stored_objects(kind).ok_or_else(|| Box::new(Fault::internal()))?;
    let request = format.read_list_query(owner, query)?;
    let (wanted, is_oldest_first) = (request.limit, request.oldest_first);
    let page = ObjectListQuery { limit: wanted + 1, ..request };
    let Some(mut rows) = core.deps.objects.list(page).await else {
        let fault = Fault::new(FaultClass::Unavailable, "store_unavailable", "The list can't be read now.");
        return Err(Box::new(fault.fix("Send the request again in a moment.").retry_after_ms(1_000)));
    };
    let has_more = rows.len() > wanted as usize;
    rows.truncate(wanted as usize);
    Ok(format.write_page(ObjectPage { rows, is_oldest_first, has_more }))
}
