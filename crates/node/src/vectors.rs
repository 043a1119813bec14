//! Embeddings and reranking on a node: runs them on the runtime, and records them like other answers.

use std::future::poll_fn;

use bytes::Bytes;
use decode::Call;
use domain::inference_task::BoxedInferenceTask;
use domain::runtime::GenerateRequest;
use domain::{Dialect, Fault, Operation, TraceId, Usage};
use http::Response;
use http::request::Parts;
use runtime::{
    RuntimeEmbedRequest, RuntimeRankRequest, ranks_answer, read_runtime_embeddings, read_runtime_ranking,
    vectors_answer,
};

use crate::body::NodeBody;
use crate::books::{RequestGuard, RequestOutcome};
use crate::json_body::json;
use crate::mode;
use crate::service::{RequestIds, Service};

/// A running computation with its journal entry. Dropping it cancels the computation.
struct RunningComputation<T> {
    work: BoxedInferenceTask<T>,
    entry: RequestGuard,
    ended: RequestOutcome,
}

impl<T> RunningComputation<T> {
    fn new(work: BoxedInferenceTask<T>, entry: RequestGuard) -> Self {
        Self { work, entry, ended: RequestOutcome::Disconnected }
    }

    /// Waits for the result and its usage.
    async fn finish(mut self) -> Result<(T, Usage), Box<Fault>> {
        let output = poll_fn(|cx| self.work.as_mut().poll_output(cx)).await;
        self.ended = if output.is_ok() { RequestOutcome::Completed } else { RequestOutcome::Failed };
        Ok((output.map_err(Box::new)?, self.work.as_ref().usage()))
    }
}

impl<T> Drop for RunningComputation<T> {
    fn drop(&mut self) {
        self.entry.end(self.ended, &self.work.as_ref().usage());
    }
}

/// The model and adapter of a request, resolved.
struct Named {
    model: String,
    adapter: Option<String>,
}

impl Service {
    pub(crate) async fn embed(
        &self,
        head: Parts,
        body: Bytes,
        ids: RequestIds,
    ) -> Result<Response<NodeBody>, Box<Fault>> {
        let (call, named) = self.resolve(Operation::Embed, head, body, ids.trace)?;
        let RuntimeEmbedRequest { mut request, as_base64 } =
            read_runtime_embeddings(call.body(), call.is_lenient())?;
        (request.model, request.adapter) = (named.model.clone(), named.adapter.clone());
        let work = self.runtime.embed(request).map_err(Box::new)?;
        let entry = self.begin_work(Operation::Embed, &named, ids);
        let (vectors, usage) = RunningComputation::new(work, entry).finish().await?;
        Ok(local(json(vectors_answer(&named.model, vectors, as_base64, &usage)), &named))
    }

    pub(crate) async fn rank(
        &self,
        head: Parts,
        body: Bytes,
        ids: RequestIds,
    ) -> Result<Response<NodeBody>, Box<Fault>> {
        let trace = ids.trace;
        let (call, named) = self.resolve(Operation::Rerank, head, body, trace)?;
        let RuntimeRankRequest { mut request, top_n, has_documents } =
            read_runtime_ranking(call.body(), call.is_lenient())?;
        (request.model, request.adapter) = (named.model.clone(), named.adapter.clone());
        let documents = if has_documents {
            request.documents.clone()
        } else {
            vec![String::new(); request.documents.len()]
        };
        let work = self.runtime.rank(request).map_err(Box::new)?;
        let entry = self.begin_work(Operation::Rerank, &named, ids);
        let (scores, usage) = RunningComputation::new(work, entry).finish().await?;
        let ranking = ranks_answer(trace, &named.model, &documents, &scores, (top_n, has_documents), &usage);
        Ok(local(json(ranking), &named))
    }

    /// Decodes a request, and resolves its mode, model and adapter.
    fn resolve(
        &self,
        operation: Operation,
        head: Parts,
        body: Bytes,
        trace: TraceId,
    ) -> Result<(Call, Named), Box<Fault>> {
        let (call, modes) = self.decode_request((Dialect::Chat, operation), head, body, trace)?;
        let model = call.request().model.clone();
        let mut request = GenerateRequest { model, ..GenerateRequest::default() };
        self.settle(&modes, &mut request)?;
        Ok((call, Named { model: request.model, adapter: request.parameters.adapter }))
    }

    /// Records the start. Embeddings always come from a real model, so usage is measured.
    fn begin_work(&self, operation: Operation, named: &Named, ids: RequestIds) -> RequestGuard {
        self.begin(operation, (&named.model, named.adapter.as_deref()), ids, true)
    }
}

fn local(mut answer: Response<NodeBody>, named: &Named) -> Response<NodeBody> {
    mode::set_headers(answer.headers_mut(), named.adapter.as_deref());
    answer
}
