//! A joined node's calls to its control plane, one at a time, for as long as the node runs.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::limits::{NODE_CALL_BYTES_MAX, NODE_CALL_TIME_MAX, NODE_POLL_EVERY, NODE_RECORDS_MAX};
use egress::{Client, EgressSettings, OutBody, Request, TargetKind};
use http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Method, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};
use world::World;

use super::Membership;
use super::pace::{Pace, Step};
use crate::about;
use crate::journal::{JournalPosition, RuntimeEnd, RuntimeRecord};
use crate::service::Service;

const HEARTBEAT: &str = "/v2/byoc/nodes/heartbeat";
const RECORDS: &str = "/v2/byoc/nodes/records";
/// Error codes for a credential that is no longer valid.
const OVER: [&str; 2] = ["node_credential_revoked", "unknown_node_credential"];

/// Sends heartbeats and usage records to the control plane.
pub struct Reporter {
    service: Arc<Service>,
    membership: Membership,
    data_dir: PathBuf,
    /// The device that computes the models.
    device: Option<String>,
    client: Client,
    pace: Pace,
    position: JournalPosition,
    /// Whether the journal may contain records that were not reported.
    has_records: bool,
}

/// Why a call failed.
enum CallError {
    /// It can be retried.
    Away(String),
    /// The node was removed from the control plane.
    Over(String),
}

#[derive(Serialize)]
struct Beat<'a> {
    version: &'static str,
    runtime: &'static str,
    device: Option<&'a str>,
    models: Vec<String>,
    load: Load,
}

#[derive(Serialize)]
struct Load {
    running: u64,
    waiting: u64,
    cache_bytes: u64,
    cache_bytes_max: u64,
}

#[derive(Deserialize)]
struct HeartbeatReply {
    heartbeat_every_ms: u64,
}

#[derive(Serialize)]
struct Report<'a> {
    records: Vec<Reported<'a>>,
}

#[derive(Serialize)]
struct Reported<'a> {
    event_id: &'a str,
    request_id: Option<&'a str>,
    model: &'a str,
    adapter: Option<&'a str>,
    operation: &'a str,
    end: RuntimeEnd,
    #[serde(rename = "begun_unix_ms")]
    started_unix_ms: u64,
    took_ms: u64,
    input_tokens: u64,
    cached_tokens: u64,
    output_tokens: u64,
    reasoning_tokens: u64,
    is_measured: bool,
}

/// The body of an error response.
#[derive(Deserialize, Default)]
struct Problem {
    #[serde(default)]
    code: String,
    #[serde(default)]
    detail: String,
}

impl<'a> From<&'a RuntimeRecord> for Reported<'a> {
    fn from(record: &'a RuntimeRecord) -> Self {
        Self {
            event_id: &record.id,
            request_id: record.request.as_deref(),
            model: &record.model,
            adapter: record.adapter.as_deref(),
            operation: &record.operation,
            end: record.end,
            started_unix_ms: record.unix_ms,
            took_ms: record.took_ms,
            input_tokens: record.input_tokens,
            cached_tokens: record.cached_tokens,
            output_tokens: record.output_tokens,
            reasoning_tokens: record.reasoning_tokens,
            is_measured: record.is_measured,
        }
    }
}

impl fmt::Display for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Membership { control, name, .. } = &self.membership;
        write!(f, "{control}, as {name}")
    }
}

impl Reporter {
    /// # Errors
    /// The TLS root certificates can't be read.
    pub fn new(
        service: Arc<Service>,
        membership: Membership,
        data_dir: PathBuf,
        device: Option<String>,
        settings: EgressSettings,
    ) -> std::io::Result<Self> {
        let client = Client::new(Arc::new(settings))?;
        let now_us = service.settings.world.clock.monotonic_us();
        let position = membership.reported(&data_dir);
        let pace = Pace::new(NODE_POLL_EVERY, now_us);
        Ok(Self { service, membership, data_dir, device, client, pace, position, has_records: true })
    }

    /// Runs until the credential is no longer valid. Use it inside a `LocalSet`.
    pub async fn run(mut self) {
        loop {
            let done = match self.pace.next(self.now_us(), self.has_records) {
                Step::Beat => self.beat().await,
                Step::Report => self.report().await,
                Step::Wait { until_us } => {
                    self.wait(until_us).await;
                    continue;
                }
            };
            match done {
                Ok(()) => {}
                Err(CallError::Away(why)) => self.record_failure(&why),
                Err(CallError::Over(why)) => {
                    let control = &self.membership.control;
                    tracing::warn!(
                        %control,
                        "the control plane says: {why} Nothing more is reported there; what is asked here is answered on"
                    );
                    return;
                }
            }
        }
    }

    fn world(&self) -> &World {
        &self.service.settings.world
    }

    fn now_us(&self) -> u64 {
        self.world().clock.monotonic_us()
    }

    async fn wait(&mut self, until_us: u64) {
        let pause = Duration::from_micros(until_us.saturating_sub(self.now_us()));
        tokio::select! {
            () = sleep(pause) => {}
            () = self.service.books.written.notified(), if !self.has_records => self.has_records = true,
        }
    }

    fn record_failure(&mut self, why: &str) {
        if !self.pace.is_away() {
            let control = &self.membership.control;
            tracing::warn!(%control, why, "the control plane is away; the journal waits for it");
        }
        let (now_us, random) = (self.now_us(), Arc::clone(&self.world().random));
        self.pace.missed(now_us, |bound| random.below(bound));
    }

    async fn beat(&mut self) -> Result<(), CallError> {
        let service = &self.service;
        let load = service.runtime.load();
        // If the runtime can't list its models now, it can't serve requests for them either.
        let models = about::names(&*service.runtime).await.unwrap_or_default();
        let beat = Beat {
            version: env!("CARGO_PKG_VERSION"),
            runtime: service.settings.runtime_name,
            device: self.device.as_deref(),
            models,
            load: Load {
                running: service.books.open(),
                waiting: load.waiting,
                cache_bytes: load.cache_bytes,
                cache_bytes_max: load.cache_bytes_max,
            },
        };
        let body = self.call(HEARTBEAT, &beat).await?;
        let heard: HeartbeatReply = serde_json::from_slice(&body)
            .map_err(|error| CallError::Away(format!("it said something that can't be read: {error}")))?;
        if self.pace.is_away() {
            tracing::info!(control = %self.membership.control, "the control plane is back");
        }
        self.pace.heard(self.now_us(), Duration::from_millis(heard.heartbeat_every_ms));
        self.has_records = true;
        Ok(())
    }

    async fn report(&mut self) -> Result<(), CallError> {
        let Some(journal) = &self.service.books.journal else {
            self.has_records = false;
            return Ok(());
        };
        let records = match journal.behind(self.position, NODE_RECORDS_MAX) {
            Ok(records) => records,
            Err(error) => {
                tracing::error!(%error, "the journal can't be read, and is not reported");
                self.has_records = false;
                return Ok(());
            }
        };
        let Some((_, last)) = records.last() else {
            self.has_records = false;
            return Ok(());
        };
        let (position, is_more) = (*last, records.len() == NODE_RECORDS_MAX);
        let report = Report { records: records.iter().map(|(record, _)| Reported::from(record)).collect() };
        self.call(RECORDS, &report).await?;
        self.position = position;
        if let Err(error) = self.membership.keep_reported(&self.data_dir, position) {
            // If a record is reported again after a restart, it still counts once.
            tracing::warn!(%error, "how far the journal was reported can't be kept");
        }
        self.pace.reported(self.now_us(), is_more);
        Ok(())
    }

    async fn call(&self, path: &str, body: &impl Serialize) -> Result<Bytes, CallError> {
        let request = self.request(path, body).map_err(CallError::Away)?;
        let whole = async {
            let away = |error: egress::EgressError| CallError::Away(error.message);
            let answer = self.client.send(&request, TargetKind::System).await.map_err(away)?;
            let status = answer.status;
            let body = answer.body.read_to_end(NODE_CALL_BYTES_MAX).await.map_err(away)?;
            if status.is_success() { Ok(body) } else { Err(refused(status, &body)) }
        };
        let late = || CallError::Away(format!("it did not answer within {} s", NODE_CALL_TIME_MAX.as_secs()));
        timeout(NODE_CALL_TIME_MAX, whole).await.unwrap_or_else(|_| Err(late()))
    }

    fn request(&self, path: &str, body: &impl Serialize) -> Result<Request, String> {
        let url = format!("{}{path}", self.membership.control);
        let url = Uri::try_from(url).map_err(|error| error.to_string())?;
        let body = serde_json::to_vec(body).map_err(|error| error.to_string())?;
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", self.membership.credential))
            .map_err(|_| "the credential in joined.json is none".to_owned())?;
        bearer.set_sensitive(true);
        let mut request = Request::new(Method::POST, url);
        let agent = HeaderValue::from_static(concat!("tidegate-node/", env!("CARGO_PKG_VERSION")));
        request.headers.push((USER_AGENT, agent));
        request.headers.push((AUTHORIZATION, bearer));
        request.headers.push((CONTENT_TYPE, HeaderValue::from_static("application/json")));
        request.body = OutBody::from(Bytes::from(body));
        Ok(request)
    }
}

fn refused(status: StatusCode, body: &[u8]) -> CallError {
    let Problem { code, detail } = serde_json::from_slice(body).unwrap_or_default();
    if status == StatusCode::UNAUTHORIZED && OVER.contains(&code.as_str()) {
        CallError::Over(detail)
    } else {
        CallError::Away(format!("it answered {status}. {detail}"))
    }
}
