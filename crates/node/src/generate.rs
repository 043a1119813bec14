//! Generates the answer of one request: here, by a backend, or by whichever can, where the request leaves it open.

use std::future::poll_fn;

use bytes::Bytes;
use decode::Call;
use dialects::count_answer;
use domain::limits::ANSWER_BYTES_MAX;
use domain::runtime::{GenerateRequest, RuntimeParameters};
use domain::{Dialect, Event, Fault, FaultClass, Operation};
use egress::Client;
use http::header::CACHE_CONTROL;
use http::request::Parts;
use http::{HeaderValue, Response};
use runtime::{AnswerWriter, RuntimeAnswerOptions, read_runtime};

use crate::body::{NodeBody, Running};
use crate::hybrid::{Departure, Staying};
use crate::json_body::{json, typed_response};
use crate::leaving::{Answered, First, leave_for_good, leave_queue, queue_bound, within};
use crate::mode::{Mode, USAGE, set_headers};
use crate::request_ids::RequestIds;
use crate::service::Service;
use crate::target::{Received, Target, not_taken};

impl Service {
    pub(crate) async fn generate(
        &self,
        (dialect, operation): (Dialect, Operation),
        head: Parts,
        body: Bytes,
        ids: RequestIds,
        client: Option<&Client>,
    ) -> Answered {
        let path = head.uri.path().to_owned();
        let (call, headers) = self.decode_request((dialect, operation), head, body, ids.trace)?;
        let received = Received { call: &call, headers: &headers, path: &path, ids, client };
        let read = read(&call);
        let target = self.resolve(received, &parameters(&call, &read)?)?;
        let departure = self.departure(received, &target);
        match self.leave_first(received, &target, departure.as_ref(), read).await {
            First::Left(answered) => answered,
            First::Stays(request, staying) => {
                self.generate_here(received, request, &target, departure.as_ref(), *staying).await
            }
        }
    }

    /// By the runtime, unless there is a reason to leave. Once the answer has started it stays.
    async fn generate_here(
        &self,
        received: Received<'_>,
        request: GenerateRequest,
        target: &Target,
        departure: Option<&Departure<'_>>,
        staying: Staying,
    ) -> Answered {
        let Staying { entry, mut nobody, .. } = staying;
        let bound = queue_bound(target, departure).filter(|_| nobody.is_none());
        let options = self.options(received, &request, target);
        let generation = match self.runtime.generate(for_runtime(request, target)) {
            Ok(generation) => generation,
            Err(fault) => {
                let staying = Staying { entry, nobody, ..Staying::default() };
                return self.leave_after(received, target, departure, staying, Box::new(fault)).await;
            }
        };
        let entry = entry.unwrap_or_else(|| self.begin(received.call.operation(), target, received.ids));
        let mut running = Running::new(generation, entry);
        let mut started = match within(bound, running.begin()).await {
            Some(started) => started,
            None => match leave_queue(departure, running.take_entry()).await {
                Ok(answered) => return answered,
                Err(staying) => {
                    nobody = staying.nobody;
                    running.keep(staying.entry);
                    running.begin().await
                }
            },
        };
        // A model may fail at its first token: the request can leave until that is sent.
        if started.is_ok() && departure.is_some() && received.call.request().stream {
            started = running.begin_content().await;
        }
        let writer = AnswerWriter::new(options);
        let answered = match started {
            Ok(()) if received.call.request().stream => return Ok(labelled(stream(running, writer), target)),
            Ok(()) => collect_answer(&mut running, writer).await,
            Err(fault) => Err(Box::new(fault)),
        };
        match answered {
            Ok(answer) => Ok(labelled(answer, target)),
            Err(fault) => {
                let staying = Staying { usage: running.usage(), entry: running.take_entry(), nobody };
                self.leave_after(received, target, departure, staying, fault).await
            }
        }
    }

    pub(crate) async fn count(
        &self,
        dialect: Dialect,
        head: Parts,
        body: Bytes,
        ids: RequestIds,
        client: Option<&Client>,
    ) -> Answered {
        let path = head.uri.path().to_owned();
        let (call, headers) = self.decode_request((dialect, Operation::Count), head, body, ids.trace)?;
        let received = Received { call: &call, headers: &headers, path: &path, ids, client };
        let read = read(&call);
        let target = self.resolve(received, &parameters(&call, &read)?)?;
        // Counting takes no turn of the model, so that only the lack of it is a reason to leave. No journal has it.
        let departure = self.departure(received, &target).filter(|_| target.must_leave());
        match departure {
            Some(departure) => return leave_for_good(&departure, &target, None).await,
            None if target.mode == Mode::Cloud => return Err(not_taken(&target)),
            None => {}
        }
        let tokens = self.runtime.count_tokens(for_runtime(read?, &target)).await.map_err(Box::new)?;
        let mut answer = json(count_answer(dialect.grammar(), tokens));
        set_headers(answer.headers_mut(), &target.selected_here());
        Ok(answer)
    }

    fn options(
        &self,
        received: Received<'_>,
        request: &GenerateRequest,
        target: &Target,
    ) -> RuntimeAnswerOptions {
        let call = received.call;
        RuntimeAnswerOptions {
            grammar: call.dialect().grammar(),
            operation: call.operation(),
            usage: call.request().include_usage,
            model: target.model.clone(),
            trace: received.ids.trace,
            created_unix_s: self.settings.world.clock.unix_ms() / 1_000,
            constraints: conversation::constraints::AnswerConstraints::of(&request.prompt),
        }
    }
}

fn stream(running: Running, writer: AnswerWriter) -> Response<NodeBody> {
    let mut answer = typed_response("text/event-stream; charset=utf-8", NodeBody::stream(running, writer));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answer
}

/// The answer of the runtime, with headers that say so.
fn labelled(mut answer: Response<NodeBody>, target: &Target) -> Response<NodeBody> {
    let headers = answer.headers_mut();
    set_headers(headers, &target.selected_here());
    if !target.is_measured {
        headers.insert(USAGE, HeaderValue::from_static("estimated"));
    }
    answer
}

fn read(call: &Call) -> Result<GenerateRequest, Box<Fault>> {
    read_runtime(call.dialect().grammar(), call.operation(), call.body(), call.request(), call.is_lenient())
}

/// The parameters for a runtime, also of a request that this one can't read and a backend may.
fn parameters(
    call: &Call,
    read: &Result<GenerateRequest, Box<Fault>>,
) -> Result<RuntimeParameters, Box<Fault>> {
    match read {
        Ok(request) => Ok(request.parameters.clone()),
        Err(_) => Ok(chat::read_words(call.body())?.0),
    }
}

fn for_runtime(request: GenerateRequest, target: &Target) -> GenerateRequest {
    let parameters = RuntimeParameters { adapter: target.adapter.clone(), ..request.parameters };
    GenerateRequest { model: target.model.clone(), parameters, ..request }
}

/// Waits for the complete answer. If the client disconnects, this future and the generation are dropped.
async fn collect_answer(
    running: &mut Running,
    mut writer: AnswerWriter,
) -> Result<Response<NodeBody>, Box<Fault>> {
    let (mut events, mut bytes) = (Vec::new(), 0);
    loop {
        let event = poll_fn(|cx| running.poll_event(cx)).await.map_err(Box::new)?;
        if let Event::Delta { text, .. } = &event {
            bytes += text.len();
        }
        if bytes > ANSWER_BYTES_MAX {
            let message = "The answer is too long for a buffered response.";
            let fault = Fault::new(FaultClass::Upstream, "answer_too_large", message);
            return Err(Box::new(fault.fix("Ask for fewer tokens, or for a stream.")));
        }
        let is_last = event == Event::Done;
        events.push(event);
        if is_last {
            return Ok(json(writer.buffered(events)));
        }
    }
}
