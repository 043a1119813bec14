//! The sixth stage: turns a client response into an HTTP response, and closes its tab exactly once, however the
//! answer ends.

mod body;

pub use body::{BodyEditor, CaptureAnswer, ReplyBody, ReplyError, WatchStream};
pub use ledger::{BUCKETS_MS, Labels, PendingWrite, SettledCounts, SettledSums, TOKEN_KINDS, Times};

use bytes::Bytes;
use domain::Usage;
use futures_util::Stream;
use http::{HeaderMap, Response, StatusCode};
use ledger::Closing;
use relay::{ClientResponse, Conclusion};

/// Makes the HTTP response. A buffered answer is settled at once, since what was used doesn't depend
/// on whether the client still reads. A stream is settled at its end, at its error, or when hyper drops the
/// body.
pub fn settle(mut response: ClientResponse) -> Response<ReplyBody> {
    let (status, headers) = (response.status(), response.take_headers());
    match response.take_whole() {
        Some(bytes) => {
            let mut body = ReplyBody::whole(bytes);
            body.settle(&mut response);
            http_response(status, headers, body)
        }
        None => http_response(status, headers, ReplyBody::from_relay(response)),
    }
}

/// A response without a tab: a refusal before admission, or a model list.
pub fn whole(status: StatusCode, headers: HeaderMap, bytes: Bytes) -> Response<ReplyBody> {
    http_response(status, headers, ReplyBody::whole(bytes))
}

/// A response without a tab, in pieces that are read while it is sent; `None` breaks it off.
pub fn streamed(
    status: StatusCode,
    headers: HeaderMap,
    pieces: impl Stream<Item = Option<Bytes>> + 'static,
) -> Response<ReplyBody> {
    http_response(status, headers, ReplyBody::pieces(Box::pin(pieces)))
}

/// Closes the tab of an exchange that has no body of its own. The event that ends it for the client must wait
/// for the returned `PendingWrite`.
pub fn book(conclusion: Conclusion) -> PendingWrite {
    let Conclusion { tab, outcome, status, fault, usage, bytes_out, fallback_used } = conclusion;
    tab.close(Closing { outcome, status, fault: fault.as_deref(), usage, bytes_out, fallback_used })
}

fn http_response(status: StatusCode, headers: HeaderMap, body: ReplyBody) -> Response<ReplyBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// Closes the response's tab and returns the usage; `None` the second time.
fn close(response: &mut ClientResponse) -> Option<(Usage, PendingWrite)> {
    let conclusion = response.conclude()?;
    Some((conclusion.usage, book(conclusion)))
}

#[cfg(test)]
mod tests {
    use domain::{Dialect, Fault, FaultClass, Operation, Outcome, ProjectId, TraceId, WorkspaceId};
    use http_body::Body;
    use http_body_util::BodyExt;
    use ledger::simulation::{SimulatedBooks, now};
    use ledger::{Durability, Opening, Tab};
    use world::DiskFault;

    use super::*;

    fn trace() -> TraceId {
        TraceId::new(1_700_000_000_000, [1; 10])
    }

    fn books() -> SimulatedBooks {
        let mut books = SimulatedBooks::new(1, Durability::Written);
        books.start().unwrap();
        books
    }

    fn open(books: &SimulatedBooks) -> Tab {
        let opening = Opening {
            trace: trace(),
            workspace: WorkspaceId::new(1, [1; 10]),
            project: ProjectId::new(1, [2; 10]),
            key: None,
            environment: "production".into(),
            operation: Operation::Chat,
            dialect: Dialect::Chat,
            stream: false,
            requested_model: "openai/gpt-4o".into(),
            tag: None,
            qos_class: None,
            started_unix_ms: 1_700_000_000_000,
            started_us: 0,
        };
        books.journal().unwrap().open_tab(opening).unwrap()
    }

    fn settled(books: &SimulatedBooks) -> domain::MeterRecord {
        books.turn().unwrap();
        books.drain().unwrap();
        assert_eq!(books.sink.len(), 1, "closed once");
        books.sink.record(trace()).unwrap()
    }

    fn refusal(class: FaultClass) -> Box<Fault> {
        Box::new(Fault::new(class, "model_not_served", "Nothing offers it."))
    }

    #[test]
    fn an_error_is_settled_before_it_is_read() {
        let books = books();
        let fault = refusal(FaultClass::NotFound);
        let response = settle(relay::deliver_fault(open(&books), fault, None, Dialect::Chat, trace()));
        let record = settled(&books);
        assert_eq!((record.outcome, record.status), (Outcome::Failed, 404));
        assert_eq!(record.fault_code.as_deref(), Some("model_not_served"));
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(response.body().size_hint().exact(), Some(record.bytes_out));
        let bytes = now(response.into_body().collect()).unwrap().unwrap().to_bytes();
        assert_eq!(bytes.len() as u64, record.bytes_out);
        assert_eq!(books.journal().unwrap().open_tabs(), 0);
    }

    #[test]
    fn nothing_of_it_is_sent_before_it_would_outlive_us() {
        let books = books();
        let fault = refusal(FaultClass::NotFound);
        let response = settle(relay::deliver_fault(open(&books), fault, None, Dialect::Chat, trace()));
        let mut body = response.into_body();
        assert!(now(body.frame()).is_none(), "its record is in memory alone");
        books.turn().unwrap();
        assert!(now(body.frame()).unwrap().is_some());
        assert!(body.is_end_stream());
    }

    #[test]
    fn a_disk_that_refuses_holds_no_answer_back() {
        let books = books();
        let deliver = |tab| {
            let fault = refusal(FaultClass::NotFound);
            settle(relay::deliver_fault(tab, fault, None, Dialect::Chat, trace())).into_body()
        };
        let (tab, other) = (open(&books), open(&books));
        let mut body = deliver(tab);
        books.disk.fail_writes(Some(DiskFault::Error));
        books.turn().unwrap_err();
        assert!(now(body.frame()).unwrap().is_some());
        assert!(now(deliver(other).frame()).unwrap().is_some(), "it fails already");
    }

    #[test]
    fn a_deadline_is_an_outcome_of_its_own() {
        let books = books();
        let fault = refusal(FaultClass::Deadline);
        drop(settle(relay::deliver_fault(open(&books), fault, None, Dialect::Chat, trace())));
        let record = settled(&books);
        assert_eq!((record.outcome, record.status), (Outcome::Deadline, 504));
    }

    #[test]
    fn a_response_that_is_dropped_unsettled_closes_its_tab() {
        let books = books();
        let fault = refusal(FaultClass::NotFound);
        drop(relay::deliver_fault(open(&books), fault, None, Dialect::Chat, trace()));
        assert_eq!(settled(&books).outcome, Outcome::ClientCancelled);
    }

    #[test]
    fn a_whole_answer_knows_its_length_and_ends_after_one_frame() {
        let mut body = whole(StatusCode::OK, HeaderMap::new(), Bytes::from_static(b"{}")).into_body();
        assert!(!body.is_end_stream());
        assert_eq!(body.size_hint().exact(), Some(2));
        let frame = now(body.frame()).unwrap().unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "{}");
        assert!(body.is_end_stream());
        assert!(now(body.frame()).unwrap().is_none());
        assert!(whole(StatusCode::OK, HeaderMap::new(), Bytes::new()).into_body().is_end_stream());
    }
}
