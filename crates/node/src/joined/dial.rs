//! A joined node's calls to its control plane, one at a time, for as long as the node runs.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use domain::limits::{NODE_POLL_EVERY, NODE_RECORDS_MAX};
use egress::EgressSettings;
use proof::PublicKey;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::sleep;
use world::World;

use super::control::{CallError, ControlPlane};
use super::pace::{Pace, Step};
use super::{Gateways, Membership, Policy};
use crate::about;
use crate::energy::EnergyMeter;
use crate::hours::HoursCounted;
use crate::hybrid::LeftBecause;
use crate::identity::NodeKey;
use crate::journal::{JournalPosition, RuntimeEnd, RuntimeRecord};
use crate::limits::ENERGY_READ_EVERY;
use crate::peers::MeshReport;
use crate::service::Service;

const HEARTBEAT: &str = "/v2/byoc/nodes/heartbeat";
const RECORDS: &str = "/v2/byoc/nodes/records";
const CERTIFICATE: &str = "/v2/byoc/nodes/certificate";

/// Sends heartbeats and usage records to the control plane.
pub struct Reporter {
    service: Arc<Service>,
    control: ControlPlane,
    key: Arc<NodeKey>,
    policy: Arc<Policy>,
    gateways: Arc<Gateways>,
    data_dir: PathBuf,
    /// The device that computes the models.
    device: Option<String>,
    energy: EnergyMeter,
    pace: Pace,
    position: JournalPosition,
    clock_skew_ms: Option<i64>,
    /// Whether the journal may contain records that were not reported.
    has_records: bool,
}

#[derive(Serialize)]
struct Beat<'a> {
    version: &'static str,
    runtime: &'static str,
    device: Option<&'a str>,
    models: Vec<String>,
    /// How large the models and adapters among them are.
    model_bytes: BTreeMap<String, u64>,
    load: Load,
    counters: Counters,
    public_key: PublicKey,
    /// How far this machine's clock is ahead of the control plane's, as of the last answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    clock_skew_ms: Option<i64>,
    /// The gateway's requests are to come through a tunnel.
    tunnel: bool,
    /// Of a node with peers.
    #[serde(skip_serializing_if = "Option::is_none")]
    mesh: Option<MeshReport>,
}

#[derive(Serialize)]
struct CertificateRequest {
    public_key: PublicKey,
    signature: String,
}

/// What was counted since the start of this process.
#[derive(Serialize)]
struct Counters {
    since_unix_ms: u64,
    up_ms: u64,
    busy_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    energy_mj: Option<u64>,
}

#[derive(Serialize)]
struct Load {
    running: u64,
    waiting: u64,
    cache_bytes: u64,
    cache_bytes_max: u64,
    cache_held_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_us: Option<u64>,
}

#[derive(Deserialize)]
struct HeartbeatReply {
    heartbeat_every_ms: u64,
    /// The control plane's time; older ones say none.
    unix_ms: Option<u64>,
    /// The signed list of the node's peers.
    peer_list: Option<Value>,
    /// The addresses of all gateways, each of which wants a tunnel; the joined one is enough where there are none.
    #[serde(default)]
    tunnel_urls: Vec<String>,
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
    /// The backend that answered in this node's place.
    #[serde(skip_serializing_if = "Option::is_none")]
    left_to: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    left_because: Option<LeftBecause>,
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
            left_to: record.left_to.as_ref().map(|left_to| left_to.backend.as_str()),
            left_because: record.left_to.as_ref().and_then(|left_to| left_to.because),
        }
    }
}

impl fmt::Display for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Membership { control, name, .. } = &self.control.membership;
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
        (key, policy, gateways): (Arc<NodeKey>, Arc<Policy>, Arc<Gateways>),
        device: Option<String>,
        settings: EgressSettings,
    ) -> std::io::Result<Self> {
        let now_us = service.settings.world.clock.monotonic_us();
        let position = membership.reported(&data_dir);
        let (pace, energy) = (Pace::new(NODE_POLL_EVERY, now_us), EnergyMeter::default());
        let control = ControlPlane::new(membership, settings)?;
        Ok(Self {
            service,
            control,
            key,
            policy,
            gateways,
            data_dir,
            device,
            energy,
            pace,
            position,
            clock_skew_ms: None,
            has_records: true,
        })
    }

    /// Reports the energy by this meter, too.
    pub fn measuring(self, energy: EnergyMeter) -> Self {
        Self { energy, ..self }
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
                Err(CallError::Unknown) => self.record_failure("it doesn't know this call"),
                Err(CallError::Over(why)) => {
                    let control = &self.control.membership.control;
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
        // A counter of energy that goes round twice between two readings can't be told from one that did so once.
        self.energy.read_mj();
        let pause = Duration::from_micros(until_us.saturating_sub(self.now_us())).min(ENERGY_READ_EVERY);
        tokio::select! {
            () = sleep(pause) => {}
            () = self.service.books.written.notified(), if !self.has_records => self.has_records = true,
        }
    }

    fn record_failure(&mut self, why: &str) {
        if !self.pace.is_away() {
            let control = &self.control.membership.control;
            tracing::warn!(%control, why, "the control plane is away; the journal waits for it");
        }
        let (now_us, random) = (self.now_us(), Arc::clone(&self.world().random));
        self.pace.missed(now_us, |bound| random.below(bound));
    }

    async fn beat(&mut self) -> Result<(), CallError> {
        let counters = self.counters();
        let service = &self.service;
        let load = service.runtime.load();
        // If the runtime can't list its models now, it can't serve requests for them either.
        let sizes = about::sizes(&*service.runtime).await.unwrap_or_default();
        let sized = sizes.iter().filter_map(|(name, bytes)| Some((name.clone(), (*bytes)?)));
        let beat = Beat {
            version: env!("CARGO_PKG_VERSION"),
            runtime: service.settings.runtime_name,
            device: self.device.as_deref(),
            model_bytes: sized.collect(),
            models: sizes.into_iter().map(|(name, _)| name).collect(),
            load: Load {
                running: service.books.open(),
                waiting: load.waiting,
                cache_bytes: load.cache_bytes,
                cache_bytes_max: load.cache_bytes_max,
                cache_held_bytes: load.cache_held_bytes,
                token_us: service.books.rates().answer_us(Some(1)),
            },
            counters,
            public_key: self.key.public_key(),
            clock_skew_ms: self.clock_skew_ms,
            tunnel: self.control.membership.tunnel,
            mesh: service.mesh.get().map(|mesh| mesh.report()),
        };
        let sent_us = self.now_us();
        let body = self.control.post(HEARTBEAT, &beat).await?;
        let heard: HeartbeatReply = serde_json::from_slice(&body)
            .map_err(|error| CallError::Away(format!("it sent a message that can't be read: {error}")))?;
        if self.pace.is_away() {
            tracing::info!(control = %self.control.membership.control, "the control plane is back");
        }
        self.pace.heard(self.now_us(), Duration::from_millis(heard.heartbeat_every_ms));
        self.has_records = true;
        self.gateways.heard(heard.tunnel_urls);
        if let (Some(list), Some(mesh)) = (&heard.peer_list, self.service.mesh.get()) {
            let Membership { node_id, control_key, .. } = &self.control.membership;
            if let Err(why) = mesh.take_list(list, node_id, *control_key) {
                tracing::warn!(%why, "the control plane's list of peers isn't taken");
            }
        }
        if let Some(unix_ms) = heard.unix_ms {
            let skew_ms = self.policy.heard(unix_ms, self.now_us().saturating_sub(sent_us));
            self.clock_skew_ms = Some(skew_ms);
            self.renew().await?;
        }
        Ok(())
    }

    /// Gets another certificate, if half the life of the last is over.
    async fn renew(&self) -> Result<(), CallError> {
        if !self.policy.is_renewal_due() {
            return Ok(());
        }
        let public_key = self.key.public_key();
        let text =
            format!("tidegate node certificate 1\n{}\n{public_key}\n", self.control.membership.node_id);
        let signature = self.key.sign(text.as_bytes()).to_string();
        let body = match self.control.post(CERTIFICATE, &CertificateRequest { public_key, signature }).await {
            Ok(body) => body,
            Err(CallError::Unknown) => return Ok(()),
            Err(CallError::Away(why)) => {
                // Heartbeats go on, and the next asks again.
                tracing::warn!(%why, "the control plane gave no certificate");
                return Ok(());
            }
            Err(over) => return Err(over),
        };
        let taken = proof::document::read(&body)
            .map_err(|error| error.to_string())
            .and_then(|document| self.policy.accept(document));
        if let Err(why) = taken {
            tracing::error!(%why, "the control plane's certificate is not used. If its key was replaced, join again");
        }
        Ok(())
    }

    fn counters(&mut self) -> Counters {
        let HoursCounted { since_unix_ms, up_ms, busy_ms } = self.service.books.hours.counted(self.now_us());
        Counters { since_unix_ms, up_ms, busy_ms, energy_mj: self.energy.read_mj() }
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
        self.control.post(RECORDS, &report).await?;
        self.position = position;
        if let Err(error) = self.control.membership.keep_reported(&self.data_dir, position) {
            // If a record is reported again after a restart, it still counts once.
            tracing::warn!(%error, "the position up to which the journal was reported can't be stored");
        }
        self.pace.reported(self.now_us(), is_more);
        Ok(())
    }
}
