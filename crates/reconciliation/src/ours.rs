//! Our side: what each attempt of a record used, by measure.

use domain::{AttemptRecord, MeterRecord, Tier, TraceId, Usage};
use providers::exports::Measure;

/// One attempt at the provider.
pub(crate) struct OurAttempt<'r> {
    pub trace: TraceId,
    pub began_unix_s: u64,
    pub ended_unix_s: u64,
    pub upstream_model: &'r str,
    pub resolved_model: &'r str,
    pub tier: Tier,
    pub request: Option<&'r str>,
    pub is_estimated: bool,
    /// It may have been billed, and nothing says for how much.
    pub is_unmetered: bool,
    pub parts: Vec<Part>,
}

/// What it used of one measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub measure: Measure,
    pub quantity: i128,
    /// Pico-USD per unit.
    pub price: Option<u64>,
}

impl<'r> OurAttempt<'r> {
    pub fn of(record: &'r MeterRecord, attempt: &'r AttemptRecord) -> Self {
        let began_ms = record.started_unix_ms.saturating_add(attempt.started_us / 1_000);
        let ended_ms = began_ms.saturating_add(attempt.duration_us / 1_000);
        let usage = &attempt.usage;
        let is_refused = attempt.status.is_some_and(|status| (400..500).contains(&status));
        Self {
            trace: record.trace,
            began_unix_s: began_ms / 1_000,
            ended_unix_s: ended_ms / 1_000,
            upstream_model: &attempt.upstream_model,
            resolved_model: &record.resolved_model,
            tier: usage.tier.unwrap_or(Tier::Standard),
            request: attempt.upstream_request_id.as_deref(),
            is_estimated: usage.is_estimated(),
            is_unmetered: usage.is_nothing() && !is_refused,
            parts: parts(usage, attempt),
        }
    }
}

fn parts(usage: &Usage, attempt: &AttemptRecord) -> Vec<Part> {
    let units = &usage.units;
    let counts = [
        (Measure::Input, usage.input),
        (Measure::CachedRead, usage.cached_read),
        (Measure::CacheWrite, usage.cache_write),
        (Measure::CacheWriteLong, usage.cache_write_long),
        (Measure::Output, usage.output.saturating_add(usage.reasoning)),
        (Measure::AudioIn, units.audio_in),
        (Measure::AudioOut, units.audio_out),
        (Measure::ImageIn, units.image_in),
        (Measure::ImageOut, units.image_out),
        (Measure::Images, units.images),
        (Measure::AudioMs, units.audio_ms),
        (Measure::Characters, units.characters),
        (Measure::Searches, units.searches),
        (Measure::VideoMs, units.video_ms),
        (Measure::WebSearches, units.web_searches),
        (Measure::FileSearches, units.file_searches),
        (Measure::CacheTokenHours, units.cache_token_hours),
    ];
    let lines = attempt.rates.map(|rates| rates.lines(usage)).unwrap_or_default();
    let price = |measure| {
        let line = lines.iter().find(|line| Measure::of_class(line.class) == measure)?;
        Some(line.price.0)
    };
    let used = counts.into_iter().filter(|(_, count)| *count > 0);
    used.map(|(measure, count)| Part { measure, quantity: i128::from(count), price: price(measure) })
        .collect()
}
