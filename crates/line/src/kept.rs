//! Lists of what a project made that providers keep: by what is remembered here, for an account may be others' too.

use admit::Caller;
use domain::limits::KEPT_ROWS_MAX;
use domain::{Dialect, Fault, FaultClass, KeptId, KeptKind, KeptOwner, KeptPage, TraceId};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use percent_encoding::percent_decode_str;
use relay::served_headers;
use settle::{ReplyBody, whole};

use crate::{Core, refuse};

/// What a list shows where nothing is said, as the vendor has it, and what may be asked for.
const FILES: (u32, u32) = (10_000, 10_000);
const OTHERS: (u32, u32) = (20, 100);

/// Lists what the caller's project made of a kind. `query` is as it was written.
pub async fn kept(
    core: &Core,
    caller: &Caller,
    kind: KeptKind,
    query: &str,
    dialect: Dialect,
    trace: TraceId,
) -> Response<ReplyBody> {
    let owner = KeptOwner { workspace: caller.workspace().id, project: caller.project().id };
    let asked = match read(owner, kind, query) {
        Ok(asked) => asked,
        Err(fault) => return refuse(core, dialect, &fault, trace),
    };
    let wanted = asked.limit;
    let page = KeptPage { limit: wanted + 1, ..asked };
    let Some(mut rows) = core.hands.objects.list(page).await else {
        let fault = Fault::new(FaultClass::Unavailable, "store_unavailable", "The list can't be read now.");
        let fault = fault.fix("Send the request again in a moment.").retry_after_ms(1_000);
        return refuse(core, dialect, &fault, trace);
    };
    let has_more = rows.len() > wanted as usize;
    rows.truncate(wanted as usize);
    let name = |row: Option<&(KeptId, _)>| row.map_or("null".to_owned(), |(id, _)| format!("\"{id}\""));
    let (first, last) = (name(rows.first()), name(rows.last()));
    let data: Vec<String> = rows.into_iter().map(|(_, object)| object.shown).collect();
    let body = format!(
        "{{\"object\":\"list\",\"data\":[{}],\"first_id\":{first},\"last_id\":{last},\"has_more\":{has_more}}}",
        data.join(",")
    );
    let mut headers = served_headers(trace, None);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    core.counters.answered(200);
    whole(StatusCode::OK, headers, body.into())
}

fn read(owner: KeptOwner, kind: KeptKind, query: &str) -> Result<KeptPage, Box<Fault>> {
    let (usual, most) = if kind == KeptKind::File { FILES } else { OTHERS };
    let limit = usual.min(KEPT_ROWS_MAX);
    let mut page = KeptPage { owner, kind, label: None, after: None, oldest_first: false, limit };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_decode_str(value).decode_utf8_lossy();
        match name {
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=most).contains(limit));
                let fix = format!("Send a number from 1 to {most}.");
                page.limit = limit.ok_or_else(|| wrong(name, fix))?.min(KEPT_ROWS_MAX);
            }
            "after" => {
                let after = value.parse::<KeptId>().ok().filter(|id| id.kind == kind);
                let fix = "Send the id of the last one of the page before.".to_owned();
                page.after = Some(after.ok_or_else(|| wrong(name, fix))?);
            }
            "order" => {
                page.oldest_first = match &*value {
                    "asc" => true,
                    "desc" => false,
                    _ => return Err(wrong(name, "Send asc or desc.".to_owned())),
                }
            }
            "purpose" => page.label = Some(value.into_owned()),
            _ => {}
        }
    }
    Ok(page)
}

fn wrong(name: &str, fix: String) -> Box<Fault> {
    let message = format!("\"{name}\" is not what a list takes.");
    Box::new(Fault::new(FaultClass::BadRequest, "invalid_value", message).param(name.to_owned()).fix(fix))
}

#[cfg(test)]
mod tests {
    use domain::{ProjectId, WorkspaceId};

    use super::*;

    #[test]
    fn a_page_is_asked_for_as_the_vendor_has_it() {
        let owner =
            KeptOwner { workspace: WorkspaceId::new(1, [1; 10]), project: ProjectId::new(1, [2; 10]) };
        let read = |kind, query: &str| read(owner, kind, query);
        let usual = read(KeptKind::File, "").unwrap();
        assert_eq!((usual.limit, usual.oldest_first, usual.after, usual.label), (1_000, false, None, None));
        let id = KeptId { kind: KeptKind::File, digest: [7; 16] };
        let query = format!("limit=10000&after={id}&order=asc&purpose=user%5Fdata&who=knows");
        let page = read(KeptKind::File, &query).unwrap();
        assert_eq!((page.limit, page.oldest_first, page.after), (1_000, true, Some(id)));
        assert_eq!(page.label.as_deref(), Some("user_data"));
        assert_eq!(read(KeptKind::Batch, "limit=100").unwrap().limit, 100);
        for (kind, wrong) in [
            (KeptKind::File, "limit=0"),
            (KeptKind::File, "limit=10001"),
            (KeptKind::Batch, "limit=101"),
            (KeptKind::File, "limit=many"),
            (KeptKind::File, "after=file-abc"),
            (KeptKind::Batch, &format!("after={id}")),
            (KeptKind::File, "order=newest"),
        ] {
            assert_eq!(read(kind, wrong).unwrap_err().class, FaultClass::BadRequest, "{wrong}");
        }
    }
}
