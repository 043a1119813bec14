//! What a node has served since it began, for whoever watches it.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use domain::Usage;

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Whole,
    /// It failed, or broke off.
    Failed,
    /// Its client left.
    Left,
}

#[derive(Debug, Default)]
pub(crate) struct Books {
    whole: AtomicU64,
    failed: AtomicU64,
    left: AtomicU64,
    refused: AtomicU64,
    open: AtomicU64,
    prompt_tokens: AtomicU64,
    remembered_tokens: AtomicU64,
    answer_tokens: AtomicU64,
}

impl Books {
    pub(crate) fn begin(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn end(&self, ended: Ended, usage: &Usage) {
        let count = match ended {
            Ended::Whole => &self.whole,
            Ended::Failed => &self.failed,
            Ended::Left => &self.left,
        };
        count.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.prompt_tokens.fetch_add(usage.prompt_total(), Ordering::Relaxed);
        self.remembered_tokens.fetch_add(usage.cached_read, Ordering::Relaxed);
        self.answer_tokens.fetch_add(usage.completion_total(), Ordering::Relaxed);
    }

    /// As Prometheus reads it.
    pub(crate) fn page(&self) -> String {
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
            ("remembered", &self.remembered_tokens),
            ("answer", &self.answer_tokens),
        ];
        for (kind, count) in tokens {
            let _ = writeln!(page, "tidegate_node_tokens_total{{kind=\"{kind}\"}} {}", read(count));
        }
        page
    }
}
