//! What a node has served: metrics since its start, and the journal.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use domain::{TraceId, Usage, UsageSource};
use tokio::sync::Notify;
use world::World;

use crate::hours::Hours;
use crate::hybrid::{LeftBecause, Rates};
use crate::journal::{Journal, LeftTo, StartedRequest};

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
    rates: Mutex<Rates>,
    pub(crate) hours: Hours,
    /// Notified when a record was written to the journal.
    pub(crate) written: Notify,
}

/// An answer in progress. Dropping it records its end.
#[derive(Debug)]
pub(crate) struct RequestGuard {
    books: Arc<RequestRecorder>,
    started: StartedRequest,
    is_measured: bool,
    /// A backend that answers does not estimate its usage.
    counts_itself: bool,
    /// When it left the runtime's queue.
    scheduled_us: Option<u64>,
    ended: RequestOutcome,
    usage: Usage,
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
    /// Requests that left because their client sent them to a backend, and by each of the other reasons.
    sent: AtomicU64,
    gone: [AtomicU64; LeftBecause::ALL.len()],
}

impl RequestRecorder {
    pub(crate) fn new(world: World, journal: Option<Journal>) -> Self {
        let hours = Hours::new(&*world.clock);
        Self {
            world,
            journal,
            counts: Counts::default(),
            rates: Mutex::default(),
            hours,
            written: Notify::new(),
        }
    }

    pub(crate) fn begin(self: &Arc<Self>, started: StartedRequest, is_measured: bool) -> RequestGuard {
        self.counts.open.fetch_add(1, Ordering::Relaxed);
        self.hours.begin(self.world.clock.monotonic_us());
        let guard = RequestGuard {
            books: Arc::clone(self),
            started,
            is_measured,
            counts_itself: true,
            scheduled_us: None,
            ended: RequestOutcome::Disconnected,
            usage: Usage::default(),
        };
        guard.write();
        guard
    }

    /// How fast this node answers.
    pub(crate) fn rates(&self) -> Rates {
        *self.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn refuse(&self) {
        self.counts.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// The number of answers in progress here.
    pub(crate) fn open(&self) -> u64 {
        self.counts.open.load(Ordering::Relaxed)
    }

    pub(crate) fn page(&self) -> String {
        self.counts.page()
    }
}

impl RequestGuard {
    fn write(&self) {
        if let Some(journal) = &self.books.journal
            && let Err(error) = journal.begin(&self.started)
        {
            tracing::error!(%error, request = %self.started.id, "the journal can't be written to");
        }
    }

    fn now_us(&self) -> u64 {
        self.books.world.clock.monotonic_us()
    }

    /// The runtime took the request out of its queue.
    pub(crate) fn scheduled(&mut self) {
        self.scheduled_us.get_or_insert(self.books.world.clock.monotonic_us());
    }

    /// The request leaves for a backend; or for another one.
    pub(crate) fn leave(&mut self, to: LeftTo) {
        if self.started.left_to.is_none() {
            self.books.counts.leave(to.because);
            self.books.hours.end(self.now_us());
        }
        self.started.left_to = Some(to);
        self.write();
    }

    /// No backend answered: the request is served here.
    pub(crate) fn stay(&mut self) {
        if self.started.left_to.take().is_some() {
            self.books.counts.open.fetch_add(1, Ordering::Relaxed);
            self.books.hours.begin(self.now_us());
            self.write();
        }
    }

    /// A backend answers; of a gateway its id of the request is known, and the profile that served it.
    pub(crate) fn answered_by(
        &mut self,
        request: Option<TraceId>,
        profile: Option<&str>,
        counts_itself: bool,
    ) {
        self.counts_itself = counts_itself;
        if let Some(request) = request {
            self.started.request = Some(request.to_string());
        }
        if let Some(left_to) = &mut self.started.left_to {
            left_to.profile = profile.map(str::to_owned);
        }
    }

    /// The end of a backend's answer as far as it is known, with the usage that it reported, or that was estimated.
    pub(crate) fn note(&mut self, ended: RequestOutcome, usage: Usage) {
        self.is_measured = self.counts_itself && usage.source == UsageSource::Provider;
        (self.ended, self.usage) = (ended, usage);
    }

    pub(crate) fn end(mut self, ended: RequestOutcome, usage: &Usage) {
        (self.ended, self.usage) = (ended, *usage);
    }

    /// The end of an answer of this node. What a backend computed is none of its work.
    fn end_here(&self) {
        let (books, now_us) = (&self.books, self.now_us());
        books.counts.close(&self.usage);
        books.hours.end(now_us);
        if let (Some(scheduled_us), RequestOutcome::Completed) = (self.scheduled_us, self.ended) {
            let mut rates = books.rates.lock().unwrap_or_else(PoisonError::into_inner);
            rates.add(now_us.saturating_sub(scheduled_us), self.usage.completion_total());
        }
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        let (books, usage) = (&self.books, &self.usage);
        books.counts.end(self.ended);
        if self.started.left_to.is_none() {
            self.end_here();
        }
        let now = books.world.clock.unix_ms();
        if let Some(journal) = &books.journal
            && let Err(error) = journal.end(&self.started, self.ended.into(), usage, now, self.is_measured)
        {
            tracing::error!(%error, request = %self.started.id, "the journal can't be written to");
        }
        books.written.notify_one();
    }
}

impl Counts {
    fn leave(&self, because: Option<LeftBecause>) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        let at = because.and_then(|because| LeftBecause::ALL.iter().position(|one| *one == because));
        let count = at.and_then(|at| self.gone.get(at)).unwrap_or(&self.sent);
        count.fetch_add(1, Ordering::Relaxed);
    }

    fn end(&self, ended: RequestOutcome) {
        let count = match ended {
            RequestOutcome::Completed => &self.whole,
            RequestOutcome::Failed => &self.failed,
            RequestOutcome::Disconnected => &self.left,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// The end of an answer of this node.
    fn close(&self, usage: &Usage) {
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
        page.push_str(
            "# HELP tidegate_node_requests_left_total Requests that left for a backend, by the reason.\n",
        );
        page.push_str("# TYPE tidegate_node_requests_left_total counter\n");
        let reasons = LeftBecause::ALL.iter().map(|because| because.as_str()).zip(&self.gone);
        for (because, count) in reasons.chain([("requested", &self.sent)]) {
            let _ =
                writeln!(page, "tidegate_node_requests_left_total{{because=\"{because}\"}} {}", read(count));
        }
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
