//! Workers as clients read them. Variables are shown by name alone.

use serde::Serialize;
use serde_json::Value;

use crate::record::{State, StepState, Worker};
use crate::spec::{Plan, StatedBy};

const HOUR_MS: i128 = 3_600_000;

/// The answer to an order.
#[derive(Debug, Serialize)]
pub struct WorkerMade {
    object: &'static str,
    /// The worker's id, by both names that clients read.
    pub job_id: String,
    instance_id: String,
    status: State,
}

#[derive(Debug, Serialize)]
pub struct WorkerView {
    id: String,
    job_id: String,
    instance_id: String,
    object: &'static str,
    provider: &'static str,
    status: State,
    spec: Value,
    /// The names of its variables.
    env: Vec<String>,
    address: Option<String>,
    ip: Option<String>,
    /// Where its node serves realtime sessions and gRPC; this product's nodes serve neither.
    realtime_peer_url: Option<String>,
    grpc_peer: Option<String>,
    peer_id: Option<String>,
    steps: Vec<StepView>,
    error: Option<String>,
    created_at: u64,
    started_at: Option<u64>,
    running_at: Option<u64>,
    ended_at: Option<u64>,
    idle_minutes: Option<u64>,
    cost: Option<CostView>,
}

#[derive(Debug, Serialize)]
struct StepView {
    name: String,
    status: StepState,
    started_at: u64,
    took_ms: Option<u64>,
    message: Option<String>,
    /// `service`, if the service that started the worker says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'static str>,
}

/// The rate that somebody stated, times the time that the worker has been there. Nobody verifies it.
#[derive(Debug, Serialize)]
struct CostView {
    nano_usd_per_hour: u64,
    stated_by: StatedBy,
    spent_nano_usd: u64,
    is_verified: bool,
}

#[derive(Debug, Serialize)]
pub struct WorkerList {
    pub(crate) object: &'static str,
    pub(crate) data: Vec<WorkerView>,
}

#[derive(Debug, Serialize)]
pub struct WorkerLogs {
    pub(crate) object: &'static str,
    pub(crate) id: String,
    pub(crate) log: String,
}

impl WorkerMade {
    pub(crate) fn of(worker: &Worker) -> Self {
        let id = worker.id.clone();
        Self { object: "worker_order", job_id: id.clone(), instance_id: id, status: worker.state }
    }
}

impl WorkerView {
    pub(crate) fn of(worker: &Worker, now_unix_ms: u64) -> Self {
        let seconds = |unix_ms: u64| unix_ms / 1_000;
        let id = worker.id.clone();
        Self {
            id: id.clone(),
            job_id: id.clone(),
            instance_id: id,
            object: "worker",
            provider: worker.plan.provider(),
            status: worker.state,
            spec: spec(&worker.plan),
            env: worker.variables.clone(),
            address: worker.address.clone(),
            ip: worker.address.as_deref().and_then(ip),
            realtime_peer_url: None,
            grpc_peer: None,
            peer_id: None,
            steps: steps(worker),
            error: worker.fault.clone(),
            created_at: seconds(worker.created_unix_ms),
            started_at: worker.started_unix_ms.map(seconds),
            running_at: worker.running_unix_ms.map(seconds),
            ended_at: worker.ended_unix_ms.map(seconds),
            idle_minutes: worker.idle_minutes,
            cost: cost(worker, now_unix_ms),
        }
    }
}

fn steps(worker: &Worker) -> Vec<StepView> {
    let steps = worker.steps.iter().map(|step| StepView {
        name: step.name.clone(),
        status: step.state,
        started_at: step.started_unix_ms / 1_000,
        took_ms: step.ended_unix_ms.map(|ended| ended.saturating_sub(step.started_unix_ms)),
        message: step.message.clone(),
        by: step.by_service.then_some("service"),
    });
    steps.collect()
}

fn spec(plan: &Plan) -> Value {
    match plan {
        Plan::Webhook { spec } => Value::Object(spec.clone()),
        plan => {
            let mut fields = serde_json::to_value(plan).unwrap_or_default();
            if let Some(object) = fields.as_object_mut() {
                object.remove("provider");
            }
            fields
        }
    }
}

/// The host of an address, if it is a number.
fn ip(address: &str) -> Option<String> {
    let host = address.parse::<http::Uri>().ok()?.host()?.trim_matches(['[', ']']).to_owned();
    host.parse::<std::net::IpAddr>().ok().map(|ip| ip.to_string())
}

fn cost(worker: &Worker, now_unix_ms: u64) -> Option<CostView> {
    let rate = worker.rate?;
    let until = worker.ended_unix_ms.unwrap_or(now_unix_ms);
    let time_ms = worker.started_unix_ms.map_or(0, |started| until.saturating_sub(started));
    let spent = i128::from(rate.nano_usd_per_hour) * i128::from(time_ms);
    let spent = domain::money::round_half_even(spent, HOUR_MS);
    Some(CostView {
        nano_usd_per_hour: rate.nano_usd_per_hour,
        stated_by: rate.stated_by,
        spent_nano_usd: u64::try_from(spent).unwrap_or(u64::MAX),
        is_verified: false,
    })
}
