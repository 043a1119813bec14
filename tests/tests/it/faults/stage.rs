//! Runs the SDKs against a provider that fails as scripted, directly and through the gateway. Each case has
//! its own workspace, so that what the gateway learnt about another case's credential has no effect.

use std::collections::HashMap;

use domain::Grammar;
use harness::{Behaviour, Config, Emulator, KeyState};
use serde_json::json;

use super::drive::{Language, Report, SDKS, Sdk, SdkCall, drive};
use super::scripted::Scripted;
use crate::gateway::{Founded, Gateway};
use crate::wait::found;

/// An SDK that sleeps for as long as a provider's retry hint says is cut off after this.
const PATIENCE_S: u64 = 20;

/// One SDK call, and where its effects are counted.
struct Case {
    sdk: Sdk,
    vendor: Grammar,
    fault: usize,
    /// The key that the provider sees.
    secret: String,
    /// The workspace whose books it is in; `None` if the SDK calls the provider directly.
    books: Option<Founded>,
    call: SdkCall,
}

/// What an SDK did and what it reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub report: Report,
    /// How often the SDK sent the request.
    pub calls: usize,
    /// How often the provider received it.
    pub upstream: usize,
}

/// One row of the run: a vendor's fault, seen through one SDK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Row {
    pub sdk: Sdk,
    pub vendor: Grammar,
    pub fault: usize,
}

/// All outcomes by row: direct, and through the gateway.
#[derive(Default)]
pub struct Outcomes {
    pub direct: HashMap<Row, Outcome>,
    pub through: HashMap<Row, Outcome>,
}

/// A gateway, and one upstream per SDK: the gateway's retry budget of an upstream is shared by all its
/// requests.
pub struct Stage {
    gateway: Gateway,
    upstreams: Vec<Emulator>,
    cases: Vec<Case>,
}

impl Stage {
    pub async fn open() -> Self {
        let mut upstreams = Vec::new();
        for _ in SDKS {
            upstreams.push(Emulator::start(Config { workers: 1, ..crate::gateway::config() }).await.unwrap());
        }
        Self { gateway: Gateway::start().await, upstreams, cases: Vec::new() }
    }

    /// The SDK calls the provider directly.
    pub fn ask_vendor(&mut self, sdk: Sdk, fault: usize, scripted: &Scripted) {
        let Some(behaviour) = (scripted.behaviour)(sdk.grammar) else { return };
        let secret = self.secret(sdk, behaviour);
        let base_url = base_url(self.upstream(sdk), sdk.grammar);
        let call = self.request(sdk, scripted, (base_url, secret.clone()), model(sdk.grammar));
        self.cases.push(Case { sdk, vendor: sdk.grammar, fault, secret, books: None, call });
    }

    /// The SDK calls the gateway, with the vendor's key as the workspace's own credential.
    pub async fn ask_gateway(&mut self, sdk: Sdk, vendor: Grammar, fault: usize, scripted: &Scripted) {
        let Some(behaviour) = (scripted.behaviour)(vendor) else { return };
        let secret = self.secret(sdk, behaviour);
        let made = self.gateway.make("/v2/workspaces", json!({"name": secret})).await;
        let founded: Founded = serde_json::from_value(made).unwrap();
        let body = json!({
            "provider": slug(vendor), "display_name": "ours", "secret": secret,
            "base_url": base_url(self.upstream(sdk), vendor),
        });
        let admin = self.gateway.with_key(&founded.admin_key);
        admin.post("/v2/provider-credentials", &body).await.unwrap().must_be(201);
        let version = if matches!(sdk.grammar, Grammar::Chat | Grammar::Responses) { "/v1" } else { "" };
        let base_url = format!("{}{version}", self.gateway.origin);
        let call = self.request(sdk, scripted, (base_url, founded.api_key.clone()), sold(vendor));
        self.cases.push(Case { sdk, vendor, fault, secret, books: Some(founded), call });
    }

    /// Makes all scheduled SDK calls.
    pub async fn play(self) -> Outcomes {
        let of = |language| {
            let cases = self.cases.iter().filter(move |case| case.sdk.language == language);
            drive(language, cases.map(|case| case.call.clone()).collect())
        };
        let (python, node) = tokio::join!(of(Language::Python), of(Language::Node));
        let mut reports: HashMap<usize, Report> =
            python.into_iter().chain(node).map(|report| (report.id, report)).collect();
        let mut outcomes = Outcomes::default();
        for case in &self.cases {
            let report = reports.remove(&case.call.id).unwrap();
            let upstream = self.upstream_requests(case);
            let row = Row { sdk: case.sdk, vendor: case.vendor, fault: case.fault };
            match &case.books {
                None => outcomes.direct.insert(row, Outcome { report, calls: upstream, upstream }),
                Some(founded) => {
                    let calls = self.calls_in_books(founded, upstream).await;
                    outcomes.through.insert(row, Outcome { report, calls, upstream })
                }
            };
        }
        for upstream in &self.upstreams {
            assert_eq!(upstream.violations(), []);
        }
        outcomes
    }

    fn request(
        &self,
        sdk: Sdk,
        scripted: &Scripted,
        (base_url, api_key): (String, String),
        model: &'static str,
    ) -> SdkCall {
        let (id, surface) = (self.cases.len(), sdk.surface());
        let (stream, timeout_s, patience_s) = (scripted.stream, scripted.timeout_s, PATIENCE_S);
        SdkCall { id, sdk: sdk.package(), surface, base_url, api_key, model, stream, timeout_s, patience_s }
    }

    /// The key of one case, for which the upstream always fails in this way.
    fn secret(&self, sdk: Sdk, behaviour: Behaviour) -> String {
        let secret = format!("sk-fault-{:04}-9d4be0a7c2f1", self.cases.len());
        self.upstream(sdk).set_key(&secret, KeyState::Ok);
        self.upstream(sdk).script(&secret, [behaviour.always()]);
        secret
    }

    fn upstream(&self, sdk: Sdk) -> &Emulator {
        let at = SDKS.iter().position(|known| *known == sdk).unwrap();
        &self.upstreams[at]
    }

    fn upstream_requests(&self, case: &Case) -> usize {
        let journal = self.upstream(case.sdk).journal();
        let of_key = journal.iter().filter(|entry| entry.key.as_deref() == Some(&case.secret));
        of_key.filter(|entry| entry.method == "POST").count()
    }

    /// The number of client requests, once the books have all that the provider received.
    async fn calls_in_books(&self, founded: &Founded, upstream: usize) -> usize {
        let admin = self.gateway.with_key(&founded.admin_key);
        found(&format!("{upstream} calls in the books"), async || {
            let rows = admin.get("/v2/requests?limit=100").await.unwrap().json();
            let rows = rows["data"].as_array().cloned().unwrap_or_default();
            let tries: u64 = rows.iter().filter_map(|row| row["attempts"].as_u64()).sum();
            (!rows.is_empty() && tries == upstream as u64).then_some(rows.len())
        })
        .await
    }
}

/// Whether this wire format is the vendor's own.
pub fn is_same_seller(grammar: Grammar, vendor: Grammar) -> bool {
    slug(grammar) == slug(vendor)
}

const fn slug(vendor: Grammar) -> &'static str {
    match vendor {
        Grammar::Chat | Grammar::Responses => "openai",
        Grammar::Anthropic => "anthropic",
        Grammar::Gemini => "gemini",
        // Not a wire format of these cases.
        Grammar::Converse => unreachable!(),
    }
}

fn model(vendor: Grammar) -> &'static str {
    sold(vendor).rsplit('/').next().unwrap()
}

/// The model's name in the gateway's catalogue.
const fn sold(vendor: Grammar) -> &'static str {
    match vendor {
        Grammar::Chat | Grammar::Responses => "openai/gpt-4o-mini",
        Grammar::Anthropic => "anthropic/claude-sonnet-4-6",
        Grammar::Gemini => "google/gemini-2.5-flash",
        Grammar::Converse => unreachable!(),
    }
}

fn base_url(upstream: &Emulator, vendor: Grammar) -> String {
    match vendor {
        Grammar::Chat | Grammar::Responses => upstream.base_url(),
        Grammar::Anthropic => upstream.anthropic_url(),
        Grammar::Gemini => upstream.origin(),
        Grammar::Converse => unreachable!(),
    }
}
