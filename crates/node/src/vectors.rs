//! Vectors of texts, and documents in the order of a question: asked of a runtime, waited for, and written down like answers.

use std::future::poll_fn;

use bytes::Bytes;
use decode::{Call, Inbound, decode};
use dialects::{
    EmbedAsked, RankAsked, ranks_answer, read_runtime_ranking, read_runtime_texts, vectors_answer,
};
use domain::reckoning::Reckoned;
use domain::runtime::GenerateRequest;
use domain::{Dialect, Fault, Operation, TraceId, Usage};
use http::request::Parts;
use http::{HeaderValue, Response};

use crate::body::NodeBody;
use crate::books::{Ended, Entry};
use crate::journal::Begun;
use crate::mode;
use crate::said::json;
use crate::service::Service;

/// Work on its way, and its place in the books. Dropped, it cancels what is not done.
struct Working<T> {
    work: Reckoned<T>,
    entry: Entry,
    ended: Ended,
}

impl<T> Working<T> {
    fn new(work: Reckoned<T>, entry: Entry) -> Self {
        Self { work, entry, ended: Ended::Left }
    }

    /// Waits for it, and tells what was used.
    async fn told(mut self) -> Result<(T, Usage), Box<Fault>> {
        let told = poll_fn(|cx| self.work.as_mut().poll_told(cx)).await;
        self.ended = if told.is_ok() { Ended::Whole } else { Ended::Failed };
        Ok((told.map_err(Box::new)?, self.work.as_ref().used()))
    }
}

impl<T> Drop for Working<T> {
    fn drop(&mut self) {
        self.entry.end(self.ended, &self.work.as_ref().used());
    }
}

/// What is said of such a request beside its body: the model and the adapter, once the mode was settled.
struct Named {
    model: String,
    adapter: Option<String>,
}

impl Service {
    pub(crate) async fn embed(
        &self,
        head: Parts,
        body: Bytes,
        trace: TraceId,
    ) -> Result<Response<NodeBody>, Box<Fault>> {
        let (call, named) = self.named(Operation::Embed, head, body, trace)?;
        let EmbedAsked { mut request, as_base64 } = read_runtime_texts(call.body(), call.is_lenient())?;
        (request.model, request.adapter) = (named.model.clone(), named.adapter.clone());
        let work = self.runtime.embed(request).map_err(Box::new)?;
        let entry = self.begin(Operation::Embed, &named, trace);
        let (vectors, usage) = Working::new(work, entry).told().await?;
        Ok(local(json(vectors_answer(&named.model, vectors, as_base64, &usage)), &named))
    }

    pub(crate) async fn rank(
        &self,
        head: Parts,
        body: Bytes,
        trace: TraceId,
    ) -> Result<Response<NodeBody>, Box<Fault>> {
        let (call, named) = self.named(Operation::Rerank, head, body, trace)?;
        let RankAsked { mut request, top_n, shows } = read_runtime_ranking(call.body(), call.is_lenient())?;
        (request.model, request.adapter) = (named.model.clone(), named.adapter.clone());
        let documents =
            if shows { request.documents.clone() } else { vec![String::new(); request.documents.len()] };
        let work = self.runtime.rank(request).map_err(Box::new)?;
        let entry = self.begin(Operation::Rerank, &named, trace);
        let (scores, usage) = Working::new(work, entry).told().await?;
        let told = ranks_answer(trace, &named.model, &documents, &scores, (top_n, shows), &usage);
        Ok(local(json(told), &named))
    }

    /// Reads what every request has, and settles where it may be answered.
    fn named(
        &self,
        operation: Operation,
        head: Parts,
        body: Bytes,
        trace: TraceId,
    ) -> Result<(Call, Named), Box<Fault>> {
        let clock = &self.settings.world.clock;
        let (received_us, received_unix_ms) = (clock.monotonic_us(), clock.unix_ms());
        let modes = head.headers.clone();
        let inbound = Inbound {
            trace,
            dialect: Dialect::Chat,
            operation,
            headers: head.headers,
            addressed: None,
            body,
            form: None,
            received_us,
            received_unix_ms,
        };
        let call = decode(inbound, received_us)?;
        let model = call.request().model.clone();
        let mut asked = GenerateRequest { model, ..GenerateRequest::default() };
        mode::settle(&modes, &mut asked)?;
        Ok((call, Named { model: asked.model, adapter: asked.words.adapter }))
    }

    fn begin(&self, operation: Operation, named: &Named, trace: TraceId) -> Entry {
        let begun = Begun {
            id: trace.to_string(),
            unix_ms: self.settings.world.clock.unix_ms(),
            model: named.model.clone(),
            adapter: named.adapter.clone(),
            operation: operation.as_str().to_owned(),
        };
        // Whatever makes vectors is a model.
        self.books.begin(begun, true)
    }
}

/// Says that it was answered here, and by which adapter.
fn local(mut answer: Response<NodeBody>, named: &Named) -> Response<NodeBody> {
    let adapter = named.adapter.as_ref().and_then(|adapter| HeaderValue::try_from(adapter).ok());
    let headers = answer.headers_mut();
    headers.insert(mode::SELECTED_MODE, mode::LOCAL);
    headers.insert(mode::SELECTED_BACKEND, mode::LOCAL);
    headers.insert(mode::SELECTED_ADAPTER, adapter.unwrap_or(HeaderValue::from_static("none")));
    answer
}
