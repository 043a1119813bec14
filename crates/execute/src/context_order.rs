//! The order of a cache by name: what is sent for it, beside the request that showed that it pays, and what becomes of it.

use std::sync::Arc;

use board::{CachedContext, ContextKey, ContextOutcome, PrefixTable};
use bytes::Bytes;
use dialects::stored_objects;
use domain::{StoredKind, StoredObjectKind};

use crate::Deps;
use crate::side_request::SideRequest;

/// A beginning of prompts that is to be cached, by a trip of the gateway's own.
pub struct ContextOrder {
    pub(crate) table: Arc<PrefixTable>,
    pub(crate) key: ContextKey,
    pub(crate) request: SideRequest,
    pub(crate) digest: [u8; 32],
    pub(crate) ttl_s: u64,
}

impl ContextOrder {
    /// Has it made beside the requests, unless another request's order is under way, or as many as may be. `create` returns
    /// the provider's answer; `None` if the cache was not made.
    pub fn run(
        self: Box<Self>,
        deps: &Deps,
        create: impl AsyncFnOnce(&SideRequest) -> Option<Bytes> + 'static,
    ) {
        let Some(creation) = deps.board.shared().begin_context_creation() else { return };
        if !self.table.contexts().begin(self.key, deps.world.clock.unix_ms()) {
            return;
        }
        let deps = deps.clone();
        tasks::spawn_on_core(async move {
            let body = create(&self.request).await;
            self.end(body.as_ref(), &deps);
            drop(creation);
        });
    }

    fn end(&self, answer: Option<&Bytes>, deps: &Deps) {
        let now_unix_ms = deps.world.clock.unix_ms();
        let until_unix_ms = now_unix_ms.saturating_add(self.ttl_s.saturating_mul(1_000));
        let made = answer.and_then(|body| self.read(body, until_unix_ms));
        let outcome = made.map_or(ContextOutcome::Failed { until_unix_ms }, ContextOutcome::Made);
        self.table.contexts().end(self.key, outcome);
    }

    fn read(&self, body: &Bytes, until_unix_ms: u64) -> Option<CachedContext> {
        let kind = StoredObjectKind::of(self.request.dialect, StoredKind::CachedContent);
        let (_, made) = stored_objects(kind)?.rewrite_ids(body, &mut |_, id| id.to_owned())?;
        // The provider's clock may be another than ours.
        let until_unix_ms = made.expires_unix_ms.map_or(until_unix_ms, |stated| stated.min(until_unix_ms));
        let tokens = made.tokens.unwrap_or_default();
        let (project, maker) = (self.request.project, self.request.principal);
        Some(CachedContext { id: made.id.into(), digest: self.digest, tokens, until_unix_ms, project, maker })
    }
}
