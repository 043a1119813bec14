//! Embeddings and reranking on a node: runs them on the runtime or has a backend do it, and records them like other answers.

use std::future::poll_fn;
use std::task::Poll;

use bytes::Bytes;
use domain::inference_task::BoxedInferenceTask;
use domain::runtime::RuntimeParameters;
use domain::{Dialect, Fault, Operation, Usage};
use egress::Client;
use http::Response;
use http::request::Parts;
use runtime::{
    RuntimeEmbedRequest, RuntimeRankRequest, ranks_answer, read_runtime_embeddings, read_runtime_ranking,
    vectors_answer,
};

use crate::body::NodeBody;
use crate::books::{RequestGuard, RequestOutcome};
use crate::hybrid::{Departure, Staying};
use crate::json_body::json;
use crate::leaving::{Answered, First, leave_queue, queue_bound, within};
use crate::mode::set_headers;
use crate::request_ids::RequestIds;
use crate::service::Service;
use crate::target::{Received, Target};

/// A running computation with its journal entry. Dropping it cancels the computation.
struct RunningComputation<T> {
    work: BoxedInferenceTask<T>,
    /// It was complete before it was waited for.
    output: Option<Result<T, Fault>>,
    /// `None` once it has ended, and while a backend may answer.
    entry: Option<RequestGuard>,
}

struct FailedComputation {
    fault: Box<Fault>,
    entry: Option<RequestGuard>,
    usage: Usage,
}

impl<T> RunningComputation<T> {
    fn new(work: BoxedInferenceTask<T>, entry: RequestGuard) -> Self {
        Self { work, output: None, entry: Some(entry) }
    }

    /// Waits until the runtime has taken the first of its texts out of the queue: then it has used something.
    async fn begin(&mut self) {
        let output = poll_fn(|cx| match self.work.as_mut().poll_output(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if self.work.as_ref().usage().prompt_total() > 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        self.output = output.await;
    }

    /// Waits for the result and its usage. The entry of one that failed is returned, so that a backend can answer.
    async fn finish(mut self) -> Result<(T, Usage), FailedComputation> {
        let output = match self.output.take() {
            Some(output) => output,
            None => poll_fn(|cx| self.work.as_mut().poll_output(cx)).await,
        };
        let (usage, entry) = (self.work.as_ref().usage(), self.entry.take());
        match output {
            Ok(output) => {
                entry.into_iter().for_each(|entry| entry.end(RequestOutcome::Completed, &usage));
                Ok((output, usage))
            }
            Err(fault) => Err(FailedComputation { fault: Box::new(fault), entry, usage }),
        }
    }
}

impl<T> Drop for RunningComputation<T> {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            entry.end(RequestOutcome::Disconnected, &self.work.as_ref().usage());
        }
    }
}

impl Service {
    pub(crate) async fn embed(
        &self,
        head: Parts,
        body: Bytes,
        ids: RequestIds,
        client: Option<&Client>,
    ) -> Answered {
        let path = head.uri.path().to_owned();
        let (call, headers) =
            self.decode_request((Dialect::Chat, Operation::Embed), head, body, ids.trace)?;
        let received = Received { call: &call, headers: &headers, path: &path, ids, client };
        let target = self.resolve(received, &RuntimeParameters::default())?;
        let departure = self.departure(received, &target);
        let read = read_runtime_embeddings(call.body(), call.is_lenient());
        let (request, staying) = match self.leave_first(received, &target, departure.as_ref(), read).await {
            First::Left(answered) => return answered,
            First::Stays(request, staying) => (request, *staying),
        };
        let RuntimeEmbedRequest { mut request, as_base64 } = request;
        (request.model, request.adapter) = (target.model.clone(), target.adapter.clone());
        let work = self.runtime.embed(request);
        match self.run_task(received, &target, departure.as_ref(), staying, work).await {
            Ok((vectors, usage)) => {
                Ok(local(json(vectors_answer(&target.model, vectors, as_base64, &usage)), &target))
            }
            Err(answered) => answered,
        }
    }

    pub(crate) async fn rank(
        &self,
        head: Parts,
        body: Bytes,
        ids: RequestIds,
        client: Option<&Client>,
    ) -> Answered {
        let path = head.uri.path().to_owned();
        let (call, headers) =
            self.decode_request((Dialect::Chat, Operation::Rerank), head, body, ids.trace)?;
        let received = Received { call: &call, headers: &headers, path: &path, ids, client };
        let target = self.resolve(received, &RuntimeParameters::default())?;
        let departure = self.departure(received, &target);
        let read = read_runtime_ranking(call.body(), call.is_lenient());
        let (request, staying) = match self.leave_first(received, &target, departure.as_ref(), read).await {
            First::Left(answered) => return answered,
            First::Stays(request, staying) => (request, *staying),
        };
        let RuntimeRankRequest { mut request, top_n, has_documents } = request;
        (request.model, request.adapter) = (target.model.clone(), target.adapter.clone());
        let documents = if has_documents {
            request.documents.clone()
        } else {
            vec![String::new(); request.documents.len()]
        };
        let work = self.runtime.rank(request);
        match self.run_task(received, &target, departure.as_ref(), staying, work).await {
            Ok((scores, usage)) => {
                let wanted = (top_n, has_documents);
                let ranking = ranks_answer(ids.trace, &target.model, &documents, &scores, wanted, &usage);
                Ok(local(json(ranking), &target))
            }
            Err(answered) => answered,
        }
    }

    /// The runtime's result, unless there is a reason to leave: then the answer of whoever computed it, or the error.
    async fn run_task<T>(
        &self,
        received: Received<'_>,
        target: &Target,
        departure: Option<&Departure<'_>>,
        staying: Staying,
        work: Result<BoxedInferenceTask<T>, Fault>,
    ) -> Result<(T, Usage), Answered> {
        let work = match work {
            Ok(work) => work,
            Err(fault) => {
                return Err(self.leave_after(received, target, departure, staying, Box::new(fault)).await);
            }
        };
        let Staying { entry, mut nobody, .. } = staying;
        let entry = entry.unwrap_or_else(|| self.begin(received.call.operation(), target, received.ids));
        let mut running = RunningComputation::new(work, entry);
        let bound = queue_bound(target, departure).filter(|_| nobody.is_none());
        if within(bound, running.begin()).await.is_none() {
            match leave_queue(departure, running.entry.take()).await {
                Ok(answered) => return Err(answered),
                Err(staying) => (nobody, running.entry) = (staying.nobody, staying.entry),
            }
        }
        match running.finish().await {
            Ok(computed) => Ok(computed),
            Err(FailedComputation { fault, entry, usage }) => {
                let staying = Staying { entry, nobody, usage };
                Err(self.leave_after(received, target, departure, staying, fault).await)
            }
        }
    }
}

fn local(mut answer: Response<NodeBody>, target: &Target) -> Response<NodeBody> {
    set_headers(answer.headers_mut(), &target.selected_here());
    answer
}
