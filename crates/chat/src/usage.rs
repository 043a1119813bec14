//! Usage as providers of this format report it, and the estimate where they don't.

use conversation::fields::optional_tier;
use domain::{Tier, Units, Usage, UsageSource, split_media};
use json::fields::latest;
use json::{Cursor, JsonError, Kind};

/// Typical for byte-pair vocabularies of 100 000 to 200 000 entries, over English prose and code.
const BYTES_PER_TOKEN: u64 = 4;

/// The usage of an exchange, estimated from the bytes of its text and marked as an estimate.
pub fn estimate(prompt_bytes: u64, content_bytes: u64) -> Usage {
    Usage {
        input: prompt_bytes.div_ceil(BYTES_PER_TOKEN),
        output: content_bytes.div_ceil(BYTES_PER_TOKEN),
        source: UsageSource::Estimate,
        ..Usage::default()
    }
}

/// The provider's counters, each with its latest value: reports are cumulative and never summed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct UsageCounters {
    prompt: Option<u64>,
    completion: Option<u64>,
    total: Option<u64>,
    cached: Option<u64>,
    /// Names that servers use instead of `prompt_tokens_details`.
    cached_flat: Option<u64>,
    cached_hit: Option<u64>,
    written: Option<u64>,
    reasoning: Option<u64>,
    /// Sound and pictures, which are part of the prompt and of the completion.
    audio_in: Option<u64>,
    image_in: Option<u64>,
    audio_out: Option<u64>,
    image_out: Option<u64>,
    /// The service tier, which is next to the usage object.
    tier: Option<Tier>,
    seen: bool,
}

impl UsageCounters {
    /// Reads a usage object; `null` and other values leave the registers as they are.
    pub(super) fn read(&mut self, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
        if cursor.kind()? != Kind::Object {
            return cursor.ignore();
        }
        self.seen = true;
        cursor.object(|cursor, member| match &*member.key.decode() {
            "prompt_tokens" => latest(&mut self.prompt, cursor),
            "completion_tokens" => latest(&mut self.completion, cursor),
            "total_tokens" => latest(&mut self.total, cursor),
            "cached_tokens" => latest(&mut self.cached_flat, cursor),
            "prompt_cache_hit_tokens" => latest(&mut self.cached_hit, cursor),
            "prompt_tokens_details" if cursor.kind()? == Kind::Object => self.read_prompt_details(cursor),
            "completion_tokens_details" if cursor.kind()? == Kind::Object => {
                self.read_completion_details(cursor)
            }
            _ => cursor.ignore(),
        })?;
        Ok(())
    }

    /// Reads `service_tier`.
    pub(super) fn read_tier(&mut self, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
        self.tier = optional_tier(cursor)?.or(self.tier);
        Ok(())
    }

    fn read_prompt_details(&mut self, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
        cursor.object(|cursor, member| match &*member.key.decode() {
            "cached_tokens" => latest(&mut self.cached, cursor),
            "cache_write_tokens" => latest(&mut self.written, cursor),
            "audio_tokens" => latest(&mut self.audio_in, cursor),
            "image_tokens" => latest(&mut self.image_in, cursor),
            _ => cursor.ignore(),
        })?;
        Ok(())
    }

    fn read_completion_details(&mut self, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
        cursor.object(|cursor, member| match &*member.key.decode() {
            "reasoning_tokens" => latest(&mut self.reasoning, cursor),
            "audio_tokens" => latest(&mut self.audio_out, cursor),
            "image_tokens" => latest(&mut self.image_out, cursor),
            _ => cursor.ignore(),
        })?;
        Ok(())
    }

    /// The counts in disjoint classes. `None` where nothing was reported, or where only zeros were reported
    /// for an answer that is not empty: that is not a report, and the caller estimates.
    pub(super) fn usage(&self, content_bytes: u64) -> Option<Usage> {
        let of = |count: Option<u64>| count.unwrap_or(0);
        let (prompt, completion) = (of(self.prompt), of(self.completion));
        if !self.seen || (prompt == 0 && completion == 0 && content_bytes > 0) {
            return None;
        }
        let cached = of(self.cached.or(self.cached_flat).or(self.cached_hit));
        let (written, reasoning) = (of(self.written), of(self.reasoning));
        // Some count reasoning in addition to the completion instead of within it; the total tells which.
        let beside = reasoning > 0
            && self.total == prompt.checked_add(completion).and_then(|sum| sum.checked_add(reasoning));
        // Reasoning tokens are part of the completion, so a larger count is wrong.
        let reasoning = if beside { reasoning } else { reasoning.min(completion) };
        // The format doesn't say how much of what was cached is sound or pictures, so they are part of the rest as far as it goes.
        let (input, audio_in, image_in) = split_media(
            prompt.saturating_sub(cached).saturating_sub(written),
            of(self.audio_in),
            of(self.image_in),
        );
        let visible = if beside { completion } else { completion - reasoning };
        let (output, audio_out, image_out) = split_media(visible, of(self.audio_out), of(self.image_out));
        Some(Usage {
            input,
            cached_read: cached,
            cache_write: written,
            cache_write_long: 0,
            output,
            reasoning,
            units: Units { audio_in, image_in, audio_out, image_out, ..Units::default() },
            tier: self.tier,
            source: UsageSource::Provider,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(reports: &[&str], content_bytes: u64) -> Option<Usage> {
        let mut registers = UsageCounters::default();
        for report in reports {
            let mut cursor = Cursor::new(report.as_bytes()).expect("UTF-8");
            registers.read(&mut cursor).expect("valid JSON");
        }
        registers.usage(content_bytes)
    }

    fn check(reports: &[&str], [input, cached_read, cache_write, output, reasoning]: [u64; 5]) {
        let expected = Usage {
            input,
            cached_read,
            cache_write,
            output,
            reasoning,
            source: UsageSource::Provider,
            ..Usage::default()
        };
        assert_eq!(read(reports, 1), Some(expected), "{reports:?}");
    }

    #[test]
    fn every_spelling_of_the_counters() {
        check(&[r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}"#], [10, 0, 0, 5, 0]);
        check(
            &[r#"{"prompt_tokens":100,"completion_tokens":50,"prompt_tokens_details":{"cached_tokens":60,
                "cache_write_tokens":10},"completion_tokens_details":{"reasoning_tokens":20}}"#],
            [30, 60, 10, 30, 20],
        );
        check(&[r#"{"prompt_tokens":10,"cached_tokens":4,"completion_tokens":1}"#], [6, 4, 0, 1, 0]);
        check(
            &[r#"{"prompt_tokens":10,"prompt_cache_hit_tokens":4,"completion_tokens":1}"#],
            [6, 4, 0, 1, 0],
        );
        check(
            &[r#"{"prompt_tokens":10,"cached_tokens":9,"prompt_tokens_details":{"cached_tokens":4},
                "completion_tokens":1}"#],
            [6, 4, 0, 1, 0],
        );
        check(
            &[r#"{"prompt_tokens":10,"prompt_tokens_details":null,"completion_tokens":1}"#],
            [10, 0, 0, 1, 0],
        );
    }

    #[test]
    fn counts_never_fall_below_zero() {
        check(
            &[r#"{"prompt_tokens":5,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":9},
                "completion_tokens_details":{"reasoning_tokens":3}}"#],
            [0, 9, 0, 0, 1],
        );
    }

    #[test]
    fn reasoning_beside_the_completion_is_told_by_the_total() {
        check(
            &[r#"{"prompt_tokens":10120,"completion_tokens":1499,"total_tokens":14428,
                "completion_tokens_details":{"reasoning_tokens":2809}}"#],
            [10120, 0, 0, 1499, 2809],
        );
    }

    #[test]
    fn sound_and_pictures_are_counted_apart_from_text() {
        let of = |report: &str| {
            let usage = read(&[report], 1).expect("usage");
            let Units { audio_in, image_in, audio_out, image_out, .. } = usage.units;
            assert_eq!(usage.completion_total(), 550, "{report}");
            (usage.input, usage.output, [audio_in, image_in, audio_out, image_out])
        };
        let plain = of(r#"{"prompt_tokens":1100,"completion_tokens":550,
            "prompt_tokens_details":{"audio_tokens":1000,"text_tokens":100,"cached_tokens":0},
            "completion_tokens_details":{"audio_tokens":500,"reasoning_tokens":0}}"#);
        assert_eq!(plain, (100, 50, [1_000, 0, 500, 0]));
        let mixed = of(r#"{"prompt_tokens":1100,"completion_tokens":550,
            "prompt_tokens_details":{"audio_tokens":300,"image_tokens":600,"cached_tokens":100},
            "completion_tokens_details":{"image_tokens":400,"reasoning_tokens":30}}"#);
        assert_eq!(mixed, (100, 120, [300, 600, 0, 400]));
        // More of them than there is: what was cached is among them, or the report is wrong.
        let cached = of(r#"{"prompt_tokens":1100,"completion_tokens":550,
            "prompt_tokens_details":{"audio_tokens":1000,"image_tokens":9,"cached_tokens":600},
            "completion_tokens_details":{"audio_tokens":900}}"#);
        assert_eq!(cached, (0, 0, [500, 0, 550, 0]));
    }

    #[test]
    fn the_latest_report_wins_field_by_field() {
        check(
            &[
                r#"{"prompt_tokens":7,"completion_tokens":1}"#,
                "null",
                r#"{"completion_tokens":3}"#,
                r#"{"completion_tokens":"many"}"#,
            ],
            [7, 0, 0, 3, 0],
        );
    }

    #[test]
    fn nothing_or_zero_for_a_full_answer_is_no_report() {
        assert_eq!(read(&["null"], 9), None);
        assert_eq!(read(&[r#"{"prompt_tokens":0,"completion_tokens":0}"#], 9), None);
        assert!(read(&[r#"{"prompt_tokens":0,"completion_tokens":0}"#], 0).is_some());
    }

    #[test]
    fn an_estimate_is_marked() {
        let usage = estimate(9, 4);
        assert_eq!((usage.input, usage.output), (3, 1));
        assert!(usage.is_estimated());
    }
}
