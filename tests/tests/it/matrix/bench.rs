//! A gateway with a credential at a provider, and an SDK driver in front of it.

use domain::limits::RETRY_BUDGET_PERCENT;
use serde_json::json;

use super::driver::{Driver, Language, Request};
use super::parties::{self, Cell, Client, Seller};
use super::verdict;
use crate::ask::question;
use crate::gateway::Gateway;
use crate::wait::until;

pub struct Bench {
    gateway: Gateway,
    driver: Driver,
    /// An access key pair, for the SDK that signs.
    access_keys: String,
}

impl Bench {
    pub async fn start(language: Language, seller: Seller) -> Self {
        let gateway = gateway(&[seller]).await;
        let pair = gateway.make("/v2/api-keys", json!({"name": "signs", "aws": true})).await["aws"].clone();
        Self { gateway, driver: Driver::start(language), access_keys: pair.to_string() }
    }

    /// Sends successful requests after failures, so that they don't count against the credential in the next
    /// cell, and so that the upstream's retry budget has the retries again that this cell took from it.
    async fn reconcile(&self, cell: &Cell) {
        self.gateway.emulator.reset();
        let retries = cell.failure().map_or(0, |failure| failure.tries - 1);
        let earning = retries * (100 / RETRY_BUDGET_PERCENT as usize);
        // The pause that the provider named may be longer than the client took to read of it.
        until("the provider to take requests again", async || {
            self.gateway.chat(&question(cell.model().0)).await.status != 429
        })
        .await;
        for _ in 0..earning.max(1) {
            self.gateway.chat_ok(&question(cell.model().0)).await;
        }
    }

    /// Runs a cell; returns every deviation.
    pub async fn differences(&mut self, cell: &Cell) -> Vec<String> {
        let emulator = &self.gateway.emulator;
        emulator.reset();
        let key = cell.seller.key();
        emulator.script(&key, cell.case.script(cell.stream));
        let name = cell.name();
        let request = Request {
            id: &name,
            client: cell.client.as_str(),
            base_url: &self.gateway.origin,
            api_key: match cell.client {
                Client::Converse => &self.access_keys,
                _ => &self.gateway.founded.api_key,
            },
            model: cell.model().0,
            stream: cell.stream,
            case: cell.case.driver_name(),
        };
        let seen = self.driver.ask(&request).await;
        let entries = self.gateway.calls(&key);
        let mut wrong = verdict::of(cell, self.driver.language, &seen, &entries);
        let violations = self.gateway.emulator.violations();
        wrong.extend(violations.iter().map(|violation| format!("violation: {}", violation.what)));
        if cell.case.fails() {
            self.reconcile(cell).await;
        }
        wrong.into_iter().map(|what| format!("{name}: {what}")).collect()
    }
}

/// A gateway with credentials at these providers, on one core: each core has a retry budget of its own, which
/// requests on another one don't fill.
pub async fn gateway(sellers: &[Seller]) -> Gateway {
    let gateway = Gateway::with(parties::config(), &[("TIDEGATE_WORKERS", "1")]).await;
    for seller in sellers {
        gateway.make("/v2/provider-credentials", seller.credential(&gateway.emulator)).await;
    }
    gateway
}
