//! The system core: a core for calls that no client requested, such as verifying credentials, calling nodes,
//! probing servers, delivering events and planning requests.

use std::rc::Rc;
use std::sync::Arc;

use api::planner::{AppPlanRequest, PlanRequest, Planner};
use bytes::Bytes;
use domain::grants::McpGrant;
use domain::limits::WEBHOOK_TIME_MAX;
use domain::ports::PortFuture;
use domain::tools::McpListing;
use domain::{CallOutcome, DeclaredServer, Fault, FaultClass, ObjectOwner, ProbeResult, Secret};
use egress::{Client, Destination, EgressErrorKind, EgressSettings, OutBody, Request, TargetKind};
use execute::{PollSink, StoredPoll};
use line::{
    AppPlan, CallExplanation, ItemAnswer, ItemCall, RuntimeReply, RuntimeRequest, SecretRenewal, TaskCall,
    VerifyReport, VerifyTarget,
};
use reconcilers::webhooks::{PostError, Posted, Posting};
use reconcilers::{FlowCall, FlowTarget, Outbound};
use tasks::{Task, Thread, Writes};
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;
use tools::{CALL_TIME_MAX, CallFailure, CodeOrder, Reach, SignInOrder, SignInPlan, ToolAnswer};
use world::World;

use crate::limits::{SYSTEM_JOBS_MAX, SYSTEM_PIECES_MAX};
use crate::server_state::ServerState;

/// A job of the core, with the channel for its result.
enum Job {
    Verify(VerifyTarget, oneshot::Sender<VerifyReport>),
    Renew(VerifyTarget, oneshot::Sender<Result<SecretRenewal, Box<Fault>>>),
    Probe(VerifyTarget, Vec<String>, oneshot::Sender<ProbeResult>),
    CallRuntime(VerifyTarget, RuntimeRequest, oneshot::Sender<Result<RuntimeReply, Box<Fault>>>),
    FetchObject(VerifyTarget, StoredPoll, PollSink),
    DeleteObject(VerifyTarget, StoredPoll, oneshot::Sender<Result<(), Box<Fault>>>),
    Item(Box<ItemCall>, oneshot::Sender<ItemAnswer>),
    Task(Box<TaskCall>, oneshot::Sender<()>),
    FlowCall(Box<FlowCall>, oneshot::Sender<Result<ToolAnswer, CallFailure>>),
    ListTools(ObjectOwner, Box<DeclaredServer>, oneshot::Sender<Result<McpListing, String>>),
    PlanSignIn(Box<SignInOrder>, oneshot::Sender<Result<SignInPlan, CallFailure>>),
    RedeemCode(Box<CodeOrder>, oneshot::Sender<Result<McpGrant, CallFailure>>),
    Post(Posting, oneshot::Sender<Result<Posted, PostError>>),
    Plan(Box<PlanRequest>, oneshot::Sender<Result<CallExplanation, Box<Fault>>>),
    PlanApp(Box<AppPlanRequest>, oneshot::Sender<Result<Option<AppPlan>, Box<Fault>>>),
}

/// The handle to the system core. The core ends when the last handle is dropped.
pub struct SystemCore {
    jobs: mpsc::Sender<Job>,
    /// Jobs whose caller does not wait until there is room for them.
    sending: Writes,
}

impl SystemCore {
    /// Starts the thread.
    ///
    /// # Errors
    /// The thread or the core can't be started.
    pub fn start(state: Arc<ServerState>, number: u32) -> anyhow::Result<(Arc<Self>, Thread)> {
        let (jobs, receiver) = mpsc::channel(SYSTEM_JOBS_MAX);
        let thread = Thread::spawn("system-core", move || {
            if let Err(error) = work(&state, number, receiver) {
                tracing::error!(%error, "the system core could not be started; nothing can be verified");
            }
        })?;
        Ok((Arc::new(Self { jobs, sending: Writes::default() }), thread))
    }
}

fn work(state: &ServerState, number: u32, mut jobs: mpsc::Receiver<Job>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let worked = LocalSet::new().block_on(&runtime, async move {
        let _watching = Task::spawn_local("delay", tasks::watch_delay("system"));
        let core = state.core(number)?;
        let egress = Arc::clone(&state.upstreams.egress);
        while let Some(job) = jobs.recv().await {
            let (core, egress) = (std::rc::Rc::clone(&core), Arc::clone(&egress));
            tasks::spawn_on_core(async move {
                // The caller may be gone; the result is dropped then.
                match job {
                    Job::Verify(target, answer) => {
                        let _ = answer.send(line::verify(&core, target).await);
                    }
                    Job::Renew(target, answer) => {
                        let _ = answer.send(line::renew(&core, target).await);
                    }
                    Job::Probe(target, models, answer) => {
                        let _ = answer.send(line::probe(&core, target, models).await);
                    }
                    Job::CallRuntime(target, request, answer) => {
                        let _ = answer.send(line::call_runtime(&core, target, request).await);
                    }
                    Job::FetchObject(target, poll, sink) => {
                        line::poll_object(&core, target, poll, sink).await
                    }
                    Job::DeleteObject(target, poll, answer) => {
                        let _ = answer.send(line::delete_object(&core, target, poll).await);
                    }
                    Job::Item(item, answer) => {
                        let _ = answer.send(line::serve_item(&core, *item).await);
                    }
                    Job::Task(task, answer) => {
                        run::work(&core, *task).await;
                        let _ = answer.send(());
                    }
                    Job::FlowCall(call, answer) => {
                        let _ = answer.send(call_for_flow(&core, &egress, *call).await);
                    }
                    Job::ListTools(owner, server, answer) => {
                        let reach = Reach::new(&core.deps.egress, &core.tools, &core.deps.world, owner);
                        let listed = tools::list(&reach, &server).await;
                        let _ = answer.send(listed.map_err(|failure| failure.text));
                    }
                    Job::PlanSignIn(order, answer) => {
                        let _ = answer.send(tools::plan_sign_in(&core.deps.egress, *order).await);
                    }
                    Job::RedeemCode(order, answer) => {
                        let _ = answer.send(tools::redeem_code(&core.deps.egress, *order).await);
                    }
                    Job::Post(posting, answer) => {
                        let posted = tokio::time::timeout(WEBHOOK_TIME_MAX, post(&core.deps.egress, posting));
                        let _ = answer.send(posted.await.unwrap_or(Err(PostError::Timeout)));
                    }
                    Job::Plan(request, answer) => {
                        let _ = answer.send(gateway::planned::explain(&core, *request).await);
                    }
                    Job::PlanApp(request, answer) => {
                        let AppPlanRequest { caller, app, input } = *request;
                        let _ = answer.send(run::plan_app(&core, &caller, (&app, input.as_ref())).await);
                    }
                }
            });
        }
        Ok(core.journal.close()?)
    });
    // Without those who still block for it, such as a name's lookup.
    runtime.shutdown_background();
    worked
}

/// Calls a tool of a project, or a server that a step of a flow names.
async fn call_for_flow(
    core: &Rc<line::Core>,
    egress: &EgressSettings,
    call: FlowCall,
) -> Result<ToolAnswer, CallFailure> {
    let FlowCall { owner, trace, target, is_approved } = call;
    match target {
        FlowTarget::Tool { name, arguments } => {
            toolloop::call_tool(core, (owner, trace), (&name, is_approved), arguments).await
        }
        FlowTarget::Http { action, headers, arguments } => {
            let plain = action.url.split(['?', '#']).next().unwrap_or_default();
            egress::check_base_url(plain, egress, TargetKind::Provider)
                .map_err(|fault| CallFailure::new(CallOutcome::Refused, fault.message.clone()))?;
            let headers = headers.into_iter().map(|(name, value)| (name, Arc::new(Secret::from_text(value))));
            let (headers, client) = (headers.collect(), &core.deps.egress);
            let calling = tools::call_http(client, owner.workspace, &action, &headers, &arguments);
            match tokio::time::timeout(CALL_TIME_MAX, calling).await {
                Ok(answer) => answer,
                Err(_) => Err(CallFailure::new(CallOutcome::Timeout, "The server did not answer in time.")),
            }
        }
    }
}

/// Sends an event or a part of the audit. The response body is dropped unread, so that a webhook can't reveal what is behind an
/// address.
async fn post(client: &Client, posting: Posting) -> Result<Posted, PostError> {
    let url = posting.url.parse().map_err(|_| PostError::Refused)?;
    let mut request = Request::new(posting.method, url);
    for header in posting.headers {
        request.headers.push(header);
    }
    request.body = OutBody::from(posting.body);
    let kind = if posting.is_of_settings { TargetKind::Machine } else { TargetKind::Webhook };
    match client.send(&request, Destination { kind, owner: posting.owner }).await {
        Ok(answer) => Ok(Posted::new(answer.status.as_u16(), answer.headers.text("retry-after"))),
        Err(error) => Err(match error.kind {
            EgressErrorKind::Guard => PostError::Refused,
            EgressErrorKind::Dns => PostError::NoAddress,
            EgressErrorKind::Connect => PostError::NoConnection,
            EgressErrorKind::Tls => PostError::NoTls,
            EgressErrorKind::Timeout => PostError::Timeout,
            EgressErrorKind::Reset
            | EgressErrorKind::Protocol
            | EgressErrorKind::Closed
            | EgressErrorKind::Body => PostError::Broken,
        }),
    }
}

impl Outbound for SystemCore {
    fn post(&self, posting: Posting) -> PortFuture<'_, Result<Posted, PostError>> {
        Box::pin(async move {
            let (answer, posted) = oneshot::channel();
            if self.jobs.send(Job::Post(posting, answer)).await.is_err() {
                return Err(PostError::Broken);
            }
            posted.await.unwrap_or(Err(PostError::Broken))
        })
    }

    fn renew(&self, target: VerifyTarget) -> PortFuture<'_, Result<SecretRenewal, Box<Fault>>> {
        Box::pin(async move {
            let (answer, renewed) = oneshot::channel();
            if self.jobs.send(Job::Renew(target, answer)).await.is_err() {
                return Err(not_called());
            }
            renewed.await.unwrap_or_else(|_| Err(not_called()))
        })
    }

    fn probe(&self, target: VerifyTarget, models: Vec<String>) -> PortFuture<'_, ProbeResult> {
        Box::pin(async move {
            let (answer, probed) = oneshot::channel();
            if self.jobs.send(Job::Probe(target, models, answer)).await.is_err() {
                return not_probed();
            }
            probed.await.unwrap_or_else(|_| not_probed())
        })
    }

    fn ask_runtime(
        &self,
        target: VerifyTarget,
        request: RuntimeRequest,
    ) -> PortFuture<'_, Result<RuntimeReply, Box<Fault>>> {
        Box::pin(async move {
            let (answer, reply) = oneshot::channel();
            if self.jobs.send(Job::CallRuntime(target, request, answer)).await.is_err() {
                return Err(not_called());
            }
            reply.await.unwrap_or_else(|_| Err(not_called()))
        })
    }

    fn fetch_object(
        &self,
        target: VerifyTarget,
        poll: StoredPoll,
    ) -> mpsc::Receiver<Result<Bytes, Box<Fault>>> {
        let (sink, pieces) = mpsc::channel(SYSTEM_PIECES_MAX);
        let jobs = self.jobs.clone();
        let sending = self.sending.run(async move {
            // If the core is gone, the channel closes, which tells the caller.
            let _ = jobs.send(Job::FetchObject(target, poll, sink)).await;
        });
        drop(sending);
        pieces
    }

    fn delete_object(
        &self,
        target: VerifyTarget,
        poll: StoredPoll,
    ) -> PortFuture<'_, Result<(), Box<Fault>>> {
        Box::pin(async move {
            let (answer, deleted) = oneshot::channel();
            if self.jobs.send(Job::DeleteObject(target, poll, answer)).await.is_err() {
                return Err(not_called());
            }
            deleted.await.unwrap_or_else(|_| Err(not_called()))
        })
    }

    fn run_item(&self, item: ItemCall) -> PortFuture<'_, ItemAnswer> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            if self.jobs.send(Job::Item(Box::new(item), answer)).await.is_err() {
                return NOT_STARTED;
            }
            answered.await.unwrap_or(NOT_STARTED)
        })
    }

    fn run_task(&self, task: TaskCall) -> PortFuture<'_, ()> {
        Box::pin(async move {
            let (answer, made) = oneshot::channel();
            // If the core is gone, another process takes the task once its lease is over.
            if self.jobs.send(Job::Task(Box::new(task), answer)).await.is_ok() {
                let _ = made.await;
            }
        })
    }

    fn call_for_flow(&self, call: FlowCall) -> PortFuture<'_, Result<ToolAnswer, CallFailure>> {
        Box::pin(async move {
            let (answer, called) = oneshot::channel();
            if self.jobs.send(Job::FlowCall(Box::new(call), answer)).await.is_err() {
                return Err(call_not_made());
            }
            called.await.unwrap_or_else(|_| Err(call_not_made()))
        })
    }

    fn list_tools(
        &self,
        owner: ObjectOwner,
        server: DeclaredServer,
    ) -> PortFuture<'_, Result<McpListing, String>> {
        Box::pin(async move {
            let (answer, listed) = oneshot::channel();
            if self.jobs.send(Job::ListTools(owner, Box::new(server), answer)).await.is_err() {
                return Err(not_called().message.into_owned());
            }
            listed.await.unwrap_or_else(|_| Err(not_called().message.into_owned()))
        })
    }

    fn plan_sign_in(&self, order: SignInOrder) -> PortFuture<'_, Result<SignInPlan, CallFailure>> {
        Box::pin(async move {
            let (answer, planned) = oneshot::channel();
            if self.jobs.send(Job::PlanSignIn(Box::new(order), answer)).await.is_err() {
                return Err(call_not_made());
            }
            planned.await.unwrap_or_else(|_| Err(call_not_made()))
        })
    }

    fn redeem_code(&self, order: CodeOrder) -> PortFuture<'_, Result<McpGrant, CallFailure>> {
        Box::pin(async move {
            let (answer, redeemed) = oneshot::channel();
            if self.jobs.send(Job::RedeemCode(Box::new(order), answer)).await.is_err() {
                return Err(call_not_made());
            }
            redeemed.await.unwrap_or_else(|_| Err(call_not_made()))
        })
    }

    fn verify(&self, target: VerifyTarget) -> PortFuture<'_, VerifyReport> {
        Box::pin(async move {
            let (answer, report) = oneshot::channel();
            let not_made = not_made(&target);
            if self.jobs.send(Job::Verify(target, answer)).await.is_err() {
                return not_made;
            }
            report.await.unwrap_or(not_made)
        })
    }
}

impl Planner for SystemCore {
    fn plan(&self, request: PlanRequest) -> PortFuture<'_, Result<CallExplanation, Box<Fault>>> {
        Box::pin(async move {
            let (answer, planned) = oneshot::channel();
            if self.jobs.send(Job::Plan(Box::new(request), answer)).await.is_err() {
                return Err(not_called());
            }
            planned.await.unwrap_or_else(|_| Err(not_called()))
        })
    }

    fn plan_app(&self, request: AppPlanRequest) -> PortFuture<'_, Result<Option<AppPlan>, Box<Fault>>> {
        Box::pin(async move {
            let (answer, planned) = oneshot::channel();
            if self.jobs.send(Job::PlanApp(Box::new(request), answer)).await.is_err() {
                return Err(not_called());
            }
            planned.await.unwrap_or_else(|_| Err(not_called()))
        })
    }
}

/// Of an item whose core is gone. What it may have begun is begun again by another process.
const NOT_STARTED: ItemAnswer = ItemAnswer::Postponed { wait_ms: 1_000 };

/// Reports nothing about the server: it was not called.
fn not_probed() -> ProbeResult {
    let unix_ms = World::system().clock.unix_ms();
    ProbeResult {
        unix_ms,
        error: Some("The gateway could not make the calls.".to_owned()),
        ..ProbeResult::default()
    }
}

fn call_not_made() -> CallFailure {
    CallFailure::new(CallOutcome::Unreachable, not_called().message.into_owned())
}

/// Reports nothing about the runtime: it was not called.
fn not_called() -> Box<Fault> {
    let message = "The gateway could not make the call.";
    Box::new(Fault::new(FaultClass::Unavailable, "not_asked", message).fix("Its log says why; try again."))
}

/// Reports nothing about the credential: it was not tried.
fn not_made(target: &VerifyTarget) -> VerifyReport {
    let fault = Fault::new(FaultClass::Unavailable, "not_verified", "The gateway could not make the call.")
        .fix("Its log says why; try again.");
    VerifyReport {
        principal: target.seat.principal(),
        checked_unix_ms: 0,
        latency_ms: 0,
        fault: Some(Box::new(fault)),
        is_of_account: false,
        models: None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use domain::{NodeId, WorkspaceId};
    use http::Method;

    use super::*;

    /// The core of a gateway whose thread is gone.
    fn ended() -> SystemCore {
        SystemCore { jobs: mpsc::channel(1).0, sending: Writes::default() }
    }

    fn target() -> VerifyTarget {
        let node = snapshot::NodeEntry {
            id: NodeId::new(1, [1; 10]),
            workspace: WorkspaceId::new(1, [2; 10]),
            name: "cellar".into(),
            base_url: "http://127.0.0.1:9".into(),
            sealed: None,
            state: snapshot::NodeState::Ready,
            models: Arc::default(),
            labels: Arc::default(),
            quirks: domain::MissingFeatures::default(),
            hour_nanos: 0,
            created_unix_ms: 1,
        };
        VerifyTarget {
            base_url: Arc::clone(&node.base_url),
            seat: plan::Seat::Byoc(Arc::new(node)),
            provider: "byoc".into(),
        }
    }

    #[tokio::test]
    async fn what_no_core_can_call_is_reported_as_such() {
        let request = RuntimeRequest {
            method: Method::GET,
            path: "/".to_owned(),
            body: None,
            time_max: Duration::from_secs(1),
        };
        let called = ended().ask_runtime(target(), request).await.unwrap_err();
        let verified = *ended().verify(target()).await.fault.unwrap();
        for (fault, code) in [(*called, "not_asked"), (verified, "not_verified")] {
            assert_eq!((fault.class, fault.code), (FaultClass::Unavailable, code));
            assert_eq!(fault.message, "The gateway could not make the call.");
        }
    }
}
