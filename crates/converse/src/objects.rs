//! Model invocation jobs: their addresses, their lists, the ids in answers about them, and where results are.

use bytes::Bytes;
use conversation::address::unescape_lossy;
use conversation::batch::{BatchEnd, BatchResults, BatchState, EndedBatch};
use conversation::objects::{
    ClientIds, ObjectMembers, ObjectPage, RequestedBatch, RequestedEntry, StoredObjects, addressed,
    no_such_address, read_cursor, read_limit, read_list_query, wrong_parameter,
};
use conversation::request::{Addressed, StoredAct};
use conversation::stored::StoredObjectReport;
use domain::{Dialect, Fault, ObjectListQuery, ObjectOwner, StoredKind, StoredObjectKind};
use http::Method;

use crate::job::{JOBS, JobOutcome, NAME, NEW_JOB, job_list_entry, read_job, requests_of};

/// The default and the largest page.
const ROWS: (u32, u32) = (100, 1_000);
const HOW: &str = "A job is read at its own address, and its /stop takes POST.";
const FILTERS: &str = "Send maxResults, nextToken, statusEquals, sortBy=CreationTime or sortOrder.";
static MEMBERS: ObjectMembers =
    ObjectMembers { id: NAME, is_path: true, label: "status", ..ObjectMembers::USUAL };

/// Batches whose requests and results are in the customer's own storage.
#[derive(Debug)]
pub(crate) struct InvocationJobs;

fn kind() -> StoredObjectKind {
    StoredObjectKind::of(Dialect::Converse, StoredKind::Batch)
}

impl StoredObjects for InvocationJobs {
    /// A job is named by its ARN, whose slash clients escape, or by the end of it.
    fn read_address(&self, method: &Method, rest: &str, _query: &str) -> Result<Addressed, Box<Fault>> {
        let decoded = unescape_lossy(rest);
        let (act, id) = match (method.as_str(), decoded.strip_suffix("/stop")) {
            ("GET" | "HEAD", None) => (StoredAct::Read, &*decoded),
            ("POST", Some(id)) => (StoredAct::Cancel, id),
            _ => return Err(no_such_address(method, HOW)),
        };
        let id = if id.contains(':') { id.to_owned() } else { format!("{}{id}", kind().prefix()) };
        Ok(addressed(id, act, ""))
    }

    /// A filter that is not supported is refused, since an unfiltered list would be a wrong answer.
    fn read_list_query(&self, owner: ObjectOwner, query: &str) -> Result<ObjectListQuery, Box<Fault>> {
        let (usual, most) = ROWS;
        read_list_query((owner, kind()), usual, query, |page, name, value| {
            match (name, value) {
                ("maxResults", _) => page.limit = read_limit(name, value, most)?,
                ("nextToken", _) => {
                    let fix = "Send the nextToken of the previous page.";
                    page.after = read_cursor(page.kind, name, value, fix)?;
                }
                ("sortBy", "CreationTime") => {}
                ("sortOrder", "Ascending") => page.oldest_first = true,
                ("sortOrder", "Descending") => page.oldest_first = false,
                ("statusEquals", status) if !status.is_empty() => page.label = Some(status.to_owned()),
                _ => return Err(wrong_parameter(name, FILTERS.to_owned())),
            }
            Ok(())
        })
    }

    fn write_page(&self, page: ObjectPage) -> String {
        let next = page.next().map_or_else(String::new, |id| format!(",\"nextToken\":\"{id}\""));
        format!("{{\"invocationJobSummaries\":[{}]{next}}}", page.entries())
    }

    fn rewrite_ids(&self, body: &Bytes, ours: &mut ClientIds<'_>) -> Option<(Bytes, StoredObjectReport)> {
        MEMBERS.rewrite(body, kind(), ours)
    }

    fn is_answer(&self, _text: &[u8]) -> bool {
        true
    }

    /// A stop is answered with a status alone.
    fn empty_answer(&self) -> Option<&'static str> {
        Some("{}")
    }

    fn has_empty_answer(&self, act: StoredAct) -> bool {
        act == StoredAct::Cancel
    }

    fn requested_entry(&self, requested: &RequestedBatch<'_>) -> Option<RequestedEntry> {
        let RequestedBatch { storage, id, model, created_unix_s } = *requested;
        let list_entry = job_list_entry(storage, id, model, created_unix_s);
        Some(RequestedEntry { list_entry, label: NEW_JOB })
    }

    fn read_batch(&self, body: &[u8]) -> Result<BatchState, String> {
        let job = read_job(body).ok_or("the answer isn't a batch")?;
        Ok(match job.outcome() {
            JobOutcome::Running => BatchState::Running(job.why().into_owned()),
            JobOutcome::NoResults => BatchState::NoResults,
            JobOutcome::Results => BatchState::Ended(EndedBatch {
                ended: BatchEnd::Written(job.ended().to_owned(), "endTime"),
                endpoint: JOBS.to_owned(),
                results: BatchResults::Storage(job.results()),
            }),
        })
    }

    fn batch_requests(&self, body: &[u8]) -> Option<(String, String)> {
        Some((requests_of(body)?, JOBS.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use domain::{FaultClass, ProjectId, StoredObjectId, WorkspaceId};

    use super::*;

    #[test]
    fn a_page_is_selected_by_the_parameters_of_the_vendor() {
        let owner =
            ObjectOwner { workspace: WorkspaceId::new(1, [1; 10]), project: ProjectId::new(1, [2; 10]) };
        let read = |query: &str| InvocationJobs.read_list_query(owner, query);
        let id = StoredObjectId::of(kind(), [7; 16]);
        let escaped = id.to_string().replace(':', "%3A").replace('/', "%2F");
        let query = format!("maxResults=1000&nextToken={escaped}&sortBy=CreationTime&sortOrder=Ascending");
        let page = read(&query).unwrap();
        assert_eq!((page.limit, page.oldest_first, page.after), (1_000, true, Some(id)));
        let page = read("statusEquals=InProgress").unwrap();
        assert_eq!((page.limit, page.label.as_deref()), (100, Some("InProgress")));
        for wrong in ["maxResults=0", "maxResults=1001", "nextToken=x", "sortBy=Name", "nameContains=x"] {
            assert_eq!(read(wrong).unwrap_err().class, FaultClass::BadRequest, "{wrong}");
        }
    }

    #[test]
    fn a_job_is_addressed_by_its_name_or_the_end_of_it() {
        let read = |method: &str, rest: &str| {
            let read = InvocationJobs.read_address(&method.parse().unwrap(), rest, "").ok()?;
            read.stored.map(|stored| (stored.id, stored.act))
        };
        let name = format!("{}0123456789ab", kind().prefix());
        let escaped = name.replace(':', "%3A").replace('/', "%2F");
        for rest in [&name, &escaped, "0123456789ab"] {
            assert_eq!(read("GET", rest), Some((name.clone(), StoredAct::Read)), "{rest}");
            let stop = format!("{rest}/stop");
            assert_eq!(read("POST", &stop), Some((name.clone(), StoredAct::Cancel)), "{rest}");
            assert_eq!((read("POST", rest), read("GET", &stop), read("DELETE", rest)), (None, None, None));
        }
    }

    #[test]
    fn the_id_becomes_ours_and_lists_are_filtered_by_the_status() {
        let mut ours = |kind: StoredObjectKind, id: &str| format!("{}{id}", kind.prefix());
        let job = r#"{"id":"x","jobArn":"arn:job/j1","status":"InProgress"}"#;
        let (body, report) = InvocationJobs.rewrite_ids(&Bytes::from(job), &mut ours).unwrap();
        assert_eq!(body, job.replace("arn:job/j1", &format!("{}j1", kind().prefix())));
        assert_eq!((&*report.id, &*report.purpose), ("j1", "InProgress"));
    }
}
