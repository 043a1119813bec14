//! Embeddings and reranking on a node: runs them on the runtime, or has a backend embed, and records them like other answers.

use std::future::poll_fn;

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
use crate::leaving::{Answered, First};
use crate::mode::set_headers;
use crate::request_ids::RequestIds;
use crate::service::Service;
use crate::target::{Received, Target};

/// A running computation with its journal entry. Dropping it cancels the computation.
struct RunningComputation<T> {
    work: BoxedInferenceTask<T>,
    /// `None` once it has ended.
    entry: Option<RequestGuard>,
}

struct FailedComputation {
    fault: Box<Fault>,
    entry: Option<RequestGuard>,
    usage: Usage,
}

impl<T> RunningComputation<T> {
    fn new(work: BoxedInferenceTask<T>, entry: RequestGuard) -> Self {
        Self { work, entry: Some(entry) }
    }

    /// Waits for the result and its usage. The entry of one that failed is returned, so that a backend can answer.
    async fn finish(mut self) -> Result<(T, Usage), FailedComputation> {
        let output = poll_fn(|cx| self.work.as_mut().poll_output(cx)).await;
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
        match self.leave_first(received, &target, departure.as_ref(), read).await {
            First::Left(answered) => answered,
            First::Stays(request, staying) => {
                self.embed_here(received, request, &target, departure.as_ref(), *staying).await
            }
        }
    }

    async fn embed_here(
        &self,
        received: Received<'_>,
        request: RuntimeEmbedRequest,
        target: &Target,
        departure: Option<&Departure<'_>>,
        staying: Staying,
    ) -> Answered {
        let RuntimeEmbedRequest { mut request, as_base64 } = request;
        (request.model, request.adapter) = (target.model.clone(), target.adapter.clone());
        let work = match self.runtime.embed(request) {
            Ok(work) => work,
            Err(fault) => {
                return self.leave_after(received, target, departure, staying, Box::new(fault)).await;
            }
        };
        let Staying { entry, nobody, .. } = staying;
        let entry = entry.unwrap_or_else(|| self.begin(Operation::Embed, target, received.ids));
        match RunningComputation::new(work, entry).finish().await {
            Ok((vectors, usage)) => {
                Ok(local(json(vectors_answer(&target.model, vectors, as_base64, &usage)), target))
            }
            Err(FailedComputation { fault, entry, usage }) => {
                let staying = Staying { entry, nobody, usage };
                self.leave_after(received, target, departure, staying, fault).await
            }
        }
    }

    pub(crate) async fn rank(
        &self,
        head: Parts,
        body: Bytes,
        ids: RequestIds,
        client: Option<&Client>,
    ) -> Answered {
        let trace = ids.trace;
        let (call, headers) = self.decode_request((Dialect::Chat, Operation::Rerank), head, body, trace)?;
        let received = Received { call: &call, headers: &headers, path: "", ids, client };
        let target = self.resolve(received, &RuntimeParameters::default())?;
        target.only_here()?;
        let RuntimeRankRequest { mut request, top_n, has_documents } =
            read_runtime_ranking(call.body(), call.is_lenient())?;
        (request.model, request.adapter) = (target.model.clone(), target.adapter.clone());
        let documents = if has_documents {
            request.documents.clone()
        } else {
            vec![String::new(); request.documents.len()]
        };
        let work = self.runtime.rank(request).map_err(Box::new)?;
        let entry = self.begin(Operation::Rerank, &target, ids);
        let ranked = RunningComputation::new(work, entry).finish().await;
        let (scores, usage) = match ranked {
            Ok(ranked) => ranked,
            Err(FailedComputation { fault, entry, usage }) => {
                let staying = Staying { entry, nobody: None, usage };
                return self.leave_after(received, &target, None, staying, fault).await;
            }
        };
        let ranking = ranks_answer(trace, &target.model, &documents, &scores, (top_n, has_documents), &usage);
        Ok(local(json(ranking), &target))
    }
}

fn local(mut answer: Response<NodeBody>, target: &Target) -> Response<NodeBody> {
    set_headers(answer.headers_mut(), &target.selected_here());
    answer
}
