//! Requests to the server: whether it answers, what is registered with it, and the runs that it is sent.

use std::sync::Arc;

use bytes::Bytes;
use domain::FlowRunId;
use domain::ports::PortFuture;
use flowruns::FlowEngine;
use http::Method;
use reconcilers::webhooks::Posting;
use reconcilers::{EngineDoor, Outbound};
use serde_json::json;
use tokio::time::timeout;

use crate::limits::{READY_TIME_MAX, REQUEST_TIME_MAX};
use crate::service::{HANDLER, SERVICE, VERSION};
use crate::settings::RestateSettings;

/// What a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answered {
    Accepted,
    /// It knows no such service: it is another server, or its storage was emptied.
    Unknown,
    Refused(u16),
    Away,
}

pub(crate) struct Client {
    ingress_url: String,
    admin_url: String,
    service_url: String,
    outbound: Arc<dyn Outbound>,
}

impl Client {
    pub fn new(settings: &RestateSettings, outbound: Arc<dyn Outbound>) -> Self {
        let plain = |url: &str| url.trim_end_matches('/').to_owned();
        Self {
            ingress_url: plain(&settings.ingress_url),
            admin_url: plain(&settings.admin_url),
            service_url: format!("{}/{VERSION}", plain(&settings.advertise_url)),
            outbound,
        }
    }

    async fn ask(&self, posting: Posting) -> Answered {
        match timeout(REQUEST_TIME_MAX, self.outbound.post(posting)).await {
            Ok(Ok(posted)) => match posted.status {
                200..=299 => Answered::Accepted,
                404 => Answered::Unknown,
                status => Answered::Refused(status),
            },
            Ok(Err(_)) | Err(_) => Answered::Away,
        }
    }

    async fn post(&self, url: String, more: Vec<(&'static str, String)>, body: Bytes) -> Answered {
        match Posting::json(None, url, more, body) {
            Ok(posting) => self.ask(Posting { is_of_settings: true, ..posting }).await,
            Err(_) => Answered::Refused(0),
        }
    }

    /// Has the server learn what is served at our address. An address is of one version of the service for ever, so that runs on the
    /// way meet the handlers that they began with.
    pub async fn register(&self) -> Answered {
        let body = json!({"uri": self.service_url, "force": false}).to_string();
        self.post(format!("{}/deployments", self.admin_url), Vec::new(), Bytes::from(body)).await
    }

    /// Sends a run. Under one key the server takes it once, until it has been worked on.
    pub async fn send(&self, id: FlowRunId, key: Option<String>) -> Answered {
        let url = format!("{}/{SERVICE}/{id}/{HANDLER}/send", self.ingress_url);
        let more = key.into_iter().map(|key| ("idempotency-key", key)).collect();
        // The handler takes nothing, and the server refuses a body then.
        match Posting::json(None, url, more, Bytes::new()) {
            Ok(posting) => {
                let headers = posting.headers.into_iter();
                let headers = headers.filter(|(name, _)| name != http::header::CONTENT_TYPE).collect();
                self.ask(Posting { headers, is_of_settings: true, ..posting }).await
            }
            Err(_) => Answered::Refused(0),
        }
    }
}

impl EngineDoor for Client {
    fn engine(&self) -> FlowEngine {
        FlowEngine::Restate
    }

    fn is_open(&self) -> PortFuture<'_, bool> {
        Box::pin(async move {
            let posting = Posting {
                method: Method::GET,
                url: format!("{}/restate/health", self.ingress_url),
                headers: vec![Posting::sender()],
                body: Bytes::new(),
                owner: None,
                is_of_settings: true,
            };
            timeout(READY_TIME_MAX, self.ask(posting)).await == Ok(Answered::Accepted)
        })
    }
}
