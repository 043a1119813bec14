//! Lists a project's files, batches and videos at providers from our own records, since a provider account
//! may be shared with other projects.

use admit::Caller;
use domain::limits::KEPT_ROWS_MAX;
use domain::{
    Dialect, Fault, FaultClass, ObjectListQuery, ObjectOwner, StoredObject, StoredObjectId, StoredObjectKind,
    TraceId,
};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use percent_encoding::percent_decode_str;
use relay::served_headers;
use settle::{ReplyBody, whole};

use crate::{Core, refuse};

/// The default and the largest page size of each kind, as the vendor defines them.
const FILES: (u32, u32) = (10_000, 10_000);
const BATCHES: (u32, u32) = (20, 100);
const MESSAGE_BATCHES: (u32, u32) = (20, 1_000);
const STORED_BATCHES: (u32, u32) = (100, 1_000);
const CONTENT_BATCHES: (u32, u32) = (50, 1_000);

/// Lists the objects of one kind that the caller's project made. `query` is the raw query string.
pub async fn kept(
    core: &Core,
    caller: &Caller,
    kind: StoredObjectKind,
    query: &str,
    dialect: Dialect,
    trace: TraceId,
) -> Response<ReplyBody> {
    let owner = ObjectOwner { workspace: caller.workspace().id, project: caller.project().id };
    let read = if kind == StoredObjectKind::StoredBatch {
        read_jobs(owner, query)
    } else {
        read(owner, kind, query)
    };
    let request = match read {
        Ok(request) => request,
        Err(fault) => return refuse(core, dialect, &fault, trace),
    };
    let (wanted, is_oldest_first) = (request.limit, request.oldest_first);
    let page = ObjectListQuery { limit: wanted + 1, ..request };
    let Some(mut rows) = core.deps.objects.list(page).await else {
        let fault = Fault::new(FaultClass::Unavailable, "store_unavailable", "The list can't be read now.");
        let fault = fault.fix("Send the request again in a moment.").retry_after_ms(1_000);
        return refuse(core, dialect, &fault, trace);
    };
    let has_more = rows.len() > wanted as usize;
    rows.truncate(wanted as usize);
    // Anthropic's list is always newest first, whichever direction was paged.
    if kind == StoredObjectKind::MessageBatch && is_oldest_first {
        rows.reverse();
    }
    let body = render_page(kind, &rows, has_more);
    let mut headers = served_headers(trace, None);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    core.counters.answered(200);
    whole(StatusCode::OK, headers, body.into())
}

/// A page in the vendor's format.
fn render_page(kind: StoredObjectKind, rows: &[(StoredObjectId, StoredObject)], has_more: bool) -> String {
    let data: Vec<&str> = rows.iter().map(|(_, object)| &*object.list_entry).collect();
    let data = data.join(",");
    if kind == StoredObjectKind::ContentBatch {
        let next = rows.last().filter(|_| has_more);
        let next = next.map_or_else(String::new, |(id, _)| format!(",\"nextPageToken\":\"{id}\""));
        return format!("{{\"operations\":[{data}]{next}}}");
    }
    let name =
        |row: Option<&(StoredObjectId, _)>| row.map_or("null".to_owned(), |(id, _)| format!("\"{id}\""));
    let (first, last) = (name(rows.first()), name(rows.last()));
    if kind == StoredObjectKind::StoredBatch {
        let next = if has_more { format!(",\"nextToken\":{last}") } else { String::new() };
        return format!("{{\"invocationJobSummaries\":[{data}]{next}}}");
    }
    let object = if kind == StoredObjectKind::MessageBatch { "" } else { "\"object\":\"list\"," };
    format!("{{{object}\"data\":[{data}],\"first_id\":{first},\"last_id\":{last},\"has_more\":{has_more}}}")
}

fn read(owner: ObjectOwner, kind: StoredObjectKind, query: &str) -> Result<ObjectListQuery, Box<Fault>> {
    let is_bundle = kind == StoredObjectKind::MessageBatch;
    let (usual, most) = match kind {
        StoredObjectKind::File => FILES,
        StoredObjectKind::MessageBatch => MESSAGE_BATCHES,
        StoredObjectKind::StoredBatch => STORED_BATCHES,
        StoredObjectKind::ContentBatch => CONTENT_BATCHES,
        StoredObjectKind::Batch | StoredObjectKind::Video => BATCHES,
    };
    let limit = usual.min(KEPT_ROWS_MAX);
    let mut page = ObjectListQuery { owner, kind, label: None, after: None, oldest_first: false, limit };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_decode_str(value).decode_utf8_lossy();
        if kind == StoredObjectKind::ContentBatch {
            read_content(&mut page, name, &value)?;
            continue;
        }
        match name {
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=most).contains(limit));
                let fix = format!("Send a number from 1 to {most}.");
                page.limit = limit.ok_or_else(|| wrong(name, fix))?.min(KEPT_ROWS_MAX);
            }
            "after" | "after_id" | "before_id" if (name == "after") != is_bundle => {
                let after = value.parse::<StoredObjectId>().ok().filter(|id| id.kind == kind);
                let fix = "Send the id of one that a page before showed.".to_owned();
                page.after = Some(after.ok_or_else(|| wrong(name, fix))?);
                // Reads upwards from the cursor, so that the page is the one next to it.
                if is_bundle {
                    page.oldest_first = name == "before_id";
                }
            }
            "order" if !is_bundle => {
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

/// Bedrock's list parameters. A filter that is not supported is refused, since an unfiltered list would be a
/// wrong answer.
fn read_jobs(owner: ObjectOwner, query: &str) -> Result<ObjectListQuery, Box<Fault>> {
    let (usual, most) = STORED_BATCHES;
    let (kind, limit) = (StoredObjectKind::StoredBatch, usual.min(KEPT_ROWS_MAX));
    let mut page = ObjectListQuery { owner, kind, label: None, after: None, oldest_first: false, limit };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_decode_str(value).decode_utf8_lossy();
        match (name, &*value) {
            ("maxResults", _) => {
                let limit = value.parse().ok().filter(|limit| (1..=most).contains(limit));
                let fix = format!("Send a number from 1 to {most}.");
                page.limit = limit.ok_or_else(|| wrong(name, fix))?.min(KEPT_ROWS_MAX);
            }
            ("nextToken", _) => {
                let after = value.parse::<StoredObjectId>().ok().filter(|id| id.kind == kind);
                let fix = "Send the nextToken of the page before.".to_owned();
                page.after = Some(after.ok_or_else(|| wrong(name, fix))?);
            }
            ("sortBy", "CreationTime") => {}
            ("sortOrder", "Ascending") => page.oldest_first = true,
            ("sortOrder", "Descending") => page.oldest_first = false,
            ("statusEquals", status) if !status.is_empty() => page.label = Some(status.to_owned()),
            _ => {
                let fix = "Send maxResults, nextToken, statusEquals, sortBy=CreationTime or sortOrder.";
                return Err(wrong(name, fix.to_owned()));
            }
        }
    }
    Ok(page)
}

/// Gemini's list parameters: no page size is too large, and 0 means the default.
fn read_content(page: &mut ObjectListQuery, name: &str, value: &str) -> Result<(), Box<Fault>> {
    let (usual, most) = CONTENT_BATCHES;
    match name {
        "pageSize" | "page_size" => {
            let fix = format!("Send a number from 0 to {most}.");
            let size: u32 = value.parse().map_err(|_| wrong(name, fix))?;
            page.limit = if size == 0 { usual } else { size.min(most).min(KEPT_ROWS_MAX) };
        }
        "pageToken" | "page_token" if !value.is_empty() => {
            let after = value.parse::<StoredObjectId>().ok().filter(|id| id.kind == page.kind);
            let fix = "Send the nextPageToken of the page before.".to_owned();
            page.after = Some(after.ok_or_else(|| wrong(name, fix))?);
        }
        _ => {}
    }
    Ok(())
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
            ObjectOwner { workspace: WorkspaceId::new(1, [1; 10]), project: ProjectId::new(1, [2; 10]) };
        let read = |kind, query: &str| read(owner, kind, query);
        let usual = read(StoredObjectKind::File, "").unwrap();
        assert_eq!((usual.limit, usual.oldest_first, usual.after, usual.label), (1_000, false, None, None));
        let id = StoredObjectId { kind: StoredObjectKind::File, digest: [7; 16] };
        let query = format!("limit=10000&after={id}&order=asc&purpose=user%5Fdata&who=knows");
        let page = read(StoredObjectKind::File, &query).unwrap();
        assert_eq!((page.limit, page.oldest_first, page.after), (1_000, true, Some(id)));
        assert_eq!(page.label.as_deref(), Some("user_data"));
        let turned = read(StoredObjectKind::File, &format!("order=asc&after={id}")).unwrap();
        assert_eq!((turned.oldest_first, turned.after), (true, Some(id)), "in whichever order they come");
        assert_eq!(read(StoredObjectKind::Batch, "limit=100").unwrap().limit, 100);
        let id = StoredObjectId { kind: StoredObjectKind::MessageBatch, digest: [7; 16] };
        let page =
            read(StoredObjectKind::MessageBatch, &format!("limit=1000&before_id={id}&order=none")).unwrap();
        assert_eq!((page.limit, page.oldest_first, page.after), (1_000, true, Some(id)));
        let page = read(StoredObjectKind::MessageBatch, &format!("after_id={id}")).unwrap();
        assert_eq!((page.limit, page.oldest_first, page.after), (20, false, Some(id)));
        let id = StoredObjectId::of(StoredObjectKind::StoredBatch, [7; 16]);
        let escaped = id.to_string().replace(':', "%3A").replace('/', "%2F");
        let query = format!("maxResults=1000&nextToken={escaped}&sortBy=CreationTime&sortOrder=Ascending");
        let page = read_jobs(owner, &query).unwrap();
        assert_eq!((page.limit, page.oldest_first, page.after), (1_000, true, Some(id)));
        let page = read_jobs(owner, "statusEquals=InProgress").unwrap();
        assert_eq!((page.limit, page.label.as_deref()), (100, Some("InProgress")));
        for wrong in ["maxResults=0", "maxResults=1001", "nextToken=x", "sortBy=Name", "nameContains=x"] {
            assert_eq!(read_jobs(owner, wrong).unwrap_err().class, FaultClass::BadRequest, "{wrong}");
        }
        let id = StoredObjectId { kind: StoredObjectKind::ContentBatch, digest: [7; 16] };
        let page = read(StoredObjectKind::ContentBatch, &format!("pageSize=7&pageToken={id}&limit=no&key=k"))
            .unwrap();
        assert_eq!((page.limit, page.oldest_first, page.after), (7, false, Some(id)));
        for (query, limit) in [("", 50), ("pageSize=0&pageToken=", 50), ("page_size=5000", 1_000)] {
            let page = read(StoredObjectKind::ContentBatch, query).unwrap();
            assert_eq!((page.limit, page.after), (limit, None), "{query}");
        }
        let id = StoredObjectId { kind: StoredObjectKind::File, digest: [7; 16] };
        for (kind, wrong) in [
            (StoredObjectKind::ContentBatch, "pageSize=many"),
            (StoredObjectKind::ContentBatch, "pageSize=-1"),
            (StoredObjectKind::ContentBatch, &format!("pageToken={id}")),
            (StoredObjectKind::MessageBatch, "limit=1001"),
            (StoredObjectKind::MessageBatch, "after_id=msgbatch_1"),
            (StoredObjectKind::MessageBatch, &format!("before_id={id}")),
            (StoredObjectKind::File, "limit=0"),
            (StoredObjectKind::File, "limit=10001"),
            (StoredObjectKind::Batch, "limit=101"),
            (StoredObjectKind::File, "limit=many"),
            (StoredObjectKind::File, "after=file-abc"),
            (StoredObjectKind::Batch, &format!("after={id}")),
            (StoredObjectKind::File, "order=newest"),
        ] {
            assert_eq!(read(kind, wrong).unwrap_err().class, FaultClass::BadRequest, "{wrong}");
        }
    }
}
