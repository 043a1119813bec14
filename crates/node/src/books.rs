//! What a node has served: metrics since its start, and the journal.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use domain::Usage;
use tokio::sync::Notify;
use world::World;

use crate::journal::{Journal, StartedRequest};

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestOutcome {
    Completed,
    /// It failed or broke off.
    Failed,
    /// Its client disconnected.
    Disconnected,
}

#[derive(Debug)]
pub(crate) struct RequestRecorder {
    world: World,
    /// `None` if nothing is stored.
    pub(crate) journal: Option<Journal>,
    counts: Counts,
    /// Notified when a record was written to the journal.
    pub(crate) written: Notify,
}

/// An answer in progress. Dropping it records its end.
#[derive(Debug)]
pub(crate) struct RequestGuard {
    books: Arc<RequestRecorder>,
    started: StartedRequest,
    is_measured: bool,
}

#[derive(Debug, Default)]
struct Counts {
    whole: AtomicU64,
    failed: AtomicU64,
    left: AtomicU64,
    refused: AtomicU64,
    open: AtomicU64,
    prompt_tokens: AtomicU64,
    cached_tokens: AtomicU64,
    answer_tokens: AtomicU64,
}

impl RequestRecorder {
    pub(crate) fn new(world: World, journal: Option<Journal>) -> Self {
        Self { world, journal, counts: Counts::default(), written: Notify::new() }
    }

    pub(crate) fn begin(self: &Arc<Self>, started: StartedRequest, is_measured: bool) -> RequestGuard {
        self.counts.open.fetch_add(1, Ordering::Relaxed);
        if let Some(journal) = &self.journal
            && let Err(error) = journal.begin(&started)
        {
            tracing::error!(%error, request = %started.id, "the journal can't be written to");
        }
        RequestGuard { books: Arc::clone(self), started, is_measured }
    }

    pub(crate) fn refuse(&self) {
        self.counts.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// The number of answers in progress.
    pub(crate) fn open(&self) -> u64 {
        self.counts.open.load(Ordering::Relaxed)
    }

    pub(crate) fn page(&self) -> String {
        self.counts.page()
    }
}

impl RequestGuard {
    pub(crate) fn end(&self, ended: RequestOutcome, usage: &Usage) {
        self.books.counts.end(ended, usage);
        let now = self.books.world.clock.unix_ms();
        if let Some(journal) = &self.books.journal
            && let Err(error) = journal.end(&self.started, ended.into(), usage, now, self.is_measured)
        {
            tracing::error!(%error, request = %self.started.id, "the journal can't be written to");
        }
        self.books.written.notify_one();
    }
}

impl Counts {
    fn end(&self, ended: RequestOutcome, usage: &Usage) {
        let count = match ended {
            RequestOutcome::Completed => &self.whole,
            RequestOutcome::Failed => &self.failed,
            RequestOutcome::Disconnected => &self.left,
        };
        count.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.prompt_tokens.fetch_add(usage.prompt_total(), Ordering::Relaxed);
        self.cached_tokens.fetch_add(usage.cached_read, Ordering::Relaxed);
        self.answer_tokens.fetch_add(usage.completion_total(), Ordering::Relaxed);
    }

    /// The metrics in Prometheus's text format.
    fn page(&self) -> String {
        let mut page = String::new();
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        page.push_str("# HELP tidegate_node_requests_total Requests, by how they ended.\n");
        page.push_str("# TYPE tidegate_node_requests_total counter\n");
        let ends = [
            ("whole", &self.whole),
            ("failed", &self.failed),
            ("left", &self.left),
            ("refused", &self.refused),
        ];
        for (end, count) in ends {
            let _ = writeln!(page, "tidegate_node_requests_total{{end=\"{end}\"}} {}", read(count));
        }
        page.push_str("# HELP tidegate_node_requests_open Requests that are being answered.\n");
        page.push_str("# TYPE tidegate_node_requests_open gauge\n");
        let _ = writeln!(page, "tidegate_node_requests_open {}", read(&self.open));
        page.push_str("# HELP tidegate_node_tokens_total Tokens: of prompts, those of them that were remembered, of answers.\n");
        page.push_str("# TYPE tidegate_node_tokens_total counter\n");
        let tokens = [
            ("prompt", &self.prompt_tokens),
            ("remembered", &self.cached_tokens),
            ("answer", &self.answer_tokens),
        ];
        for (kind, count) in tokens {
            let _ = writeln!(page, "tidegate_node_tokens_total{{kind=\"{kind}\"}} {}", read(count));
        }
        page
    }
}
