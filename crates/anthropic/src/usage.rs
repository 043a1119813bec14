//! Token usage as Anthropic counts it.

use conversation::fields::optional_tier;
use domain::{Tier, Units, Usage, UsageSource};
use json::fields::latest;
use json::{Cursor, JsonError, Kind};
use serde::Serialize;

/// Anthropic's counters, each at its latest value: reports are cumulative and never summed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct UsageCounters {
    top: Counters,
    /// What compacting the conversation used, which the top-level totals leave out.
    compaction: Counters,
    seen: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counters {
    input: Option<u64>,
    read: Option<u64>,
    written: Option<u64>,
    written_5m: Option<u64>,
    written_1h: Option<u64>,
    output: Option<u64>,
    thinking: Option<u64>,
    searches: Option<u64>,
    executions: Option<u64>,
    tier: Option<Tier>,
    speed: Option<Tier>,
}

/// Usage as clients see it. The prompt's counts are in both the first and the last event of a stream.
#[derive(Debug, Clone, Copy, Serialize, Default)]
pub(super) struct Report {
    input_tokens: u64,
    cache_creation_input_tokens: u64,
    cache_read_input_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_creation: Option<Creation>,
    output_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Creation {
    ephemeral_5m_input_tokens: u64,
    ephemeral_1h_input_tokens: u64,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct OutputDetails {
    thinking_tokens: u64,
}

impl Report {
    pub(super) fn of(usage: &Usage) -> Self {
        let (short, long) = (usage.cache_write, usage.cache_write_long);
        let creation = Creation { ephemeral_5m_input_tokens: short, ephemeral_1h_input_tokens: long };
        Self {
            input_tokens: usage.prompt_uncached(),
            cache_creation_input_tokens: short.saturating_add(long),
            cache_read_input_tokens: usage.cached_read,
            cache_creation: (short > 0 || long > 0).then_some(creation),
            output_tokens: usage.completion_total(),
            output_tokens_details: (usage.reasoning > 0)
                .then_some(OutputDetails { thinking_tokens: usage.reasoning }),
        }
    }
}

impl Report {
    /// The last usage report of a stream has no breakdown of cache writes by lifetime.
    pub(super) const fn of_delta(self) -> Self {
        Self { cache_creation: None, ..self }
    }
}

impl UsageCounters {
    /// Reads a usage object. Any other value leaves the registers unchanged.
    pub(super) fn read(&mut self, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
        if cursor.kind()? != Kind::Object {
            return cursor.ignore();
        }
        self.seen = true;
        let Self { top, compaction, .. } = self;
        cursor.object(|cursor, member| match &*member.key.decode() {
            "iterations" if cursor.kind()? == Kind::Array => {
                *compaction = Counters::default();
                cursor.array(|cursor, _| read_iteration(cursor, compaction))?;
                Ok(())
            }
            name => top.read(name, cursor),
        })?;
        Ok(())
    }

    /// The counts in disjoint classes. `None` if nothing was reported, or only zeros for a response that has
    /// content or has not ended: such zeros are not a report.
    pub(super) fn usage(&self, may_be_zero: bool) -> Option<Usage> {
        let usage = self.top.usage().plus(self.compaction.usage());
        let is_zero = usage.prompt_total() == 0 && usage.completion_total() == 0;
        (self.seen && (may_be_zero || !is_zero)).then_some(usage)
    }
}

/// Reads one iteration of a response. Only compactions are summed, as the totals leave them out.
fn read_iteration(cursor: &mut Cursor<'_>, sum: &mut Counters) -> Result<(), JsonError> {
    if cursor.kind()? != Kind::Object {
        return cursor.ignore();
    }
    let mut counters = Counters::default();
    let mut is_compaction = false;
    cursor.object(|cursor, member| match &*member.key.decode() {
        "type" => {
            is_compaction = cursor.skip()?.of(cursor.bytes()) == b"\"compaction\"";
            Ok(())
        }
        name => counters.read(name, cursor),
    })?;
    if is_compaction {
        sum.add(&counters);
    }
    Ok(())
}

impl Counters {
    fn read(&mut self, name: &str, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
        match name {
            "input_tokens" => latest(&mut self.input, cursor),
            "cache_read_input_tokens" => latest(&mut self.read, cursor),
            "cache_creation_input_tokens" => latest(&mut self.written, cursor),
            "output_tokens" => latest(&mut self.output, cursor),
            "cache_creation" if cursor.kind()? == Kind::Object => {
                cursor.object(|cursor, member| match &*member.key.decode() {
                    "ephemeral_5m_input_tokens" => latest(&mut self.written_5m, cursor),
                    "ephemeral_1h_input_tokens" => latest(&mut self.written_1h, cursor),
                    _ => cursor.ignore(),
                })?;
                Ok(())
            }
            "service_tier" => {
                self.tier = optional_tier(cursor)?.or(self.tier);
                Ok(())
            }
            "speed" => {
                self.speed = optional_tier(cursor)?.or(self.speed);
                Ok(())
            }
            "server_tool_use" if cursor.kind()? == Kind::Object => {
                cursor.object(|cursor, member| match &*member.key.decode() {
                    "web_search_requests" => latest(&mut self.searches, cursor),
                    "code_execution_requests" => latest(&mut self.executions, cursor),
                    _ => cursor.ignore(),
                })?;
                Ok(())
            }
            "output_tokens_details" if cursor.kind()? == Kind::Object => {
                cursor.object(|cursor, member| match &*member.key.decode() {
                    "thinking_tokens" => latest(&mut self.thinking, cursor),
                    _ => cursor.ignore(),
                })?;
                Ok(())
            }
            _ => cursor.ignore(),
        }
    }

    fn add(&mut self, other: &Self) {
        let sum = |register: &mut Option<u64>, more: Option<u64>| {
            if let Some(more) = more {
                *register = Some(register.unwrap_or(0).saturating_add(more));
            }
        };
        sum(&mut self.input, other.input);
        sum(&mut self.read, other.read);
        sum(&mut self.written, other.written);
        sum(&mut self.written_5m, other.written_5m);
        sum(&mut self.written_1h, other.written_1h);
        sum(&mut self.output, other.output);
        sum(&mut self.thinking, other.thinking);
    }

    /// The last report of a stream has no breakdown of cache writes, so the first report's breakdown stays in
    /// force.
    fn usage(&self) -> Usage {
        let split = self.written_5m.unwrap_or(0).saturating_add(self.written_1h.unwrap_or(0));
        let written = self.written.unwrap_or(split);
        let long = self.written_1h.unwrap_or(0).min(written);
        let output = self.output.unwrap_or(0);
        let reasoning = self.thinking.unwrap_or(0).min(output);
        Usage {
            input: self.input.unwrap_or(0),
            cached_read: self.read.unwrap_or(0),
            cache_write: written - long,
            cache_write_long: long,
            output: output - reasoning,
            reasoning,
            units: Units {
                web_searches: self.searches.unwrap_or(0),
                hosted_calls: self.executions.unwrap_or(0),
                ..Units::default()
            },
            tier: self.speed.filter(|speed| *speed != Tier::Standard).or(self.tier),
            source: UsageSource::Provider,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(reports: &[&str], expected: [u64; 6]) {
        let mut registers = UsageCounters::default();
        for report in reports {
            registers.read(&mut Cursor::new(report.as_bytes()).unwrap()).unwrap();
        }
        let usage = registers.usage(true).unwrap();
        let found = [
            usage.input,
            usage.cached_read,
            usage.cache_write,
            usage.cache_write_long,
            usage.output,
            usage.reasoning,
        ];
        assert_eq!(found, expected, "{reports:?}");
        // The usage written for a client reads back as the same.
        let json = serde_json::to_string(&Report::of(&usage)).unwrap();
        let mut again = UsageCounters::default();
        again.read(&mut Cursor::new(json.as_bytes()).unwrap()).unwrap();
        assert_eq!(again.usage(true), Some(usage), "{json}");
    }

    #[test]
    fn the_classes_are_disjoint() {
        check(&[r#"{"input_tokens":3,"output_tokens":7}"#], [3, 0, 0, 0, 7, 0]);
        check(
            &[r#"{"input_tokens":3,"cache_read_input_tokens":100,"cache_creation_input_tokens":50,
                "cache_creation":{"ephemeral_5m_input_tokens":20,"ephemeral_1h_input_tokens":30},
                "output_tokens":9,"output_tokens_details":{"thinking_tokens":4}}"#],
            [3, 100, 20, 30, 5, 4],
        );
        check(
            &[r#"{"input_tokens":3,"cache_creation_input_tokens":50,"output_tokens":1}"#],
            [3, 0, 50, 0, 1, 0],
        );
        check(
            &[r#"{"input_tokens":3,"cache_creation":{"ephemeral_1h_input_tokens":8}}"#],
            [3, 0, 0, 8, 0, 0],
        );
    }

    #[test]
    fn the_split_of_the_first_report_outlives_the_last() {
        let first = r#"{"input_tokens":3,"cache_creation_input_tokens":50,"output_tokens":1,
            "cache_creation":{"ephemeral_5m_input_tokens":20,"ephemeral_1h_input_tokens":30}}"#;
        check(&[first, r#"{"output_tokens":40}"#], [3, 0, 20, 30, 40, 0]);
        check(
            &[first, "null", r#"{"cache_creation_input_tokens":50,"output_tokens":40}"#],
            [3, 0, 20, 30, 40, 0],
        );
        check(&[first, r#"{"cache_creation_input_tokens":10,"output_tokens":40}"#], [3, 0, 0, 10, 40, 0]);
    }

    #[test]
    fn compaction_is_added_and_rounds_of_the_answer_are_not() {
        check(
            &[r#"{"input_tokens":3,"output_tokens":7,"iterations":[{"type":"compaction","input_tokens":100,
                "output_tokens":20},{"type":"message","input_tokens":3,"output_tokens":7}]}"#],
            [103, 0, 0, 0, 27, 0],
        );
    }

    #[test]
    fn counts_never_fall_below_zero() {
        check(&[r#"{"output_tokens":2,"output_tokens_details":{"thinking_tokens":9}}"#], [0, 0, 0, 0, 0, 2]);
    }

    #[test]
    fn zeros_are_a_report_only_of_nothing() {
        let mut registers = UsageCounters::default();
        assert_eq!(registers.usage(true), None);
        registers.read(&mut Cursor::new(br#"{"input_tokens":0,"output_tokens":0}"#).unwrap()).unwrap();
        assert_eq!(registers.usage(false), None);
        assert!(registers.usage(true).is_some());
    }
}
