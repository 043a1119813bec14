//! Token usage as Bedrock's Converse API counts it.

use domain::{Tier, Units, Usage, UsageSource};
use json::fields::latest;
use json::{Cursor, JsonError, Kind};

use super::decode::read_tier;

/// The upstream's counters, each at its latest value.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct UsageCounters {
    input: Option<u64>,
    read: Option<u64>,
    written: Option<u64>,
    written_5m: Option<u64>,
    written_1h: Option<u64>,
    output: Option<u64>,
    tier: Option<Tier>,
    seen: bool,
}

impl UsageCounters {
    /// Reads a usage object.
    pub(super) fn read(&mut self, usage: &[u8]) -> Result<(), JsonError> {
        self.seen = true;
        Cursor::new(usage)?.object(|cursor, member| {
            let register = match &*member.key.decode() {
                "inputTokens" => &mut self.input,
                "outputTokens" => &mut self.output,
                "cacheReadInputTokens" => &mut self.read,
                "cacheWriteInputTokens" => &mut self.written,
                "cacheDetails" if cursor.kind()? == Kind::Array => return self.read_details(cursor),
                _ => return cursor.ignore(),
            };
            latest(register, cursor)
        })?;
        Ok(())
    }

    /// Reads the service tier that served the request; it is next to the usage object.
    pub(super) fn read_tier(&mut self, tier: &[u8]) -> Result<(), JsonError> {
        self.tier = read_tier(&mut Cursor::new(tier)?)?.or(self.tier);
        Ok(())
    }

    /// Reads the cache writes by lifetime.
    fn read_details(&mut self, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
        let (mut short, mut long) = (None, None);
        cursor.array(|cursor, _| {
            if cursor.kind()? != Kind::Object {
                return cursor.ignore();
            }
            let (mut tokens, mut is_long) = (None, false);
            cursor.object(|cursor, member| match &*member.key.decode() {
                "ttl" => {
                    is_long = cursor.skip()?.of(cursor.bytes()) == b"\"1h\"";
                    Ok(())
                }
                "inputTokens" => latest(&mut tokens, cursor),
                _ => cursor.ignore(),
            })?;
            let register: &mut Option<u64> = if is_long { &mut long } else { &mut short };
            *register = Some(register.unwrap_or(0).saturating_add(tokens.unwrap_or(0)));
            Ok::<(), JsonError>(())
        })?;
        (self.written_5m, self.written_1h) = (short, long);
        Ok(())
    }

    /// The counts in disjoint classes. `None` if nothing was reported, or only zeros for a response that has
    /// content: such zeros are not a report. Reasoning is part of the output; Bedrock does not count it
    /// separately.
    pub(super) fn usage(&self, may_be_zero: bool) -> Option<Usage> {
        let split = self.written_5m.unwrap_or(0).saturating_add(self.written_1h.unwrap_or(0));
        let written = self.written.unwrap_or(split);
        let long = self.written_1h.unwrap_or(0).min(written);
        let usage = Usage {
            input: self.input.unwrap_or(0),
            cached_read: self.read.unwrap_or(0),
            cache_write: written - long,
            cache_write_long: long,
            output: self.output.unwrap_or(0),
            reasoning: 0,
            units: Units::default(),
            tier: self.tier,
            source: UsageSource::Provider,
        };
        let is_zero = usage.prompt_total() == 0 && usage.completion_total() == 0;
        (self.seen && (may_be_zero || !is_zero)).then_some(usage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(report: &str, expected: [u64; 5]) {
        let mut registers = UsageCounters::default();
        registers.read(report.as_bytes()).unwrap();
        let usage = registers.usage(true).unwrap();
        let found = [usage.input, usage.cached_read, usage.cache_write, usage.cache_write_long, usage.output];
        assert_eq!((found, usage.reasoning), (expected, 0), "{report}");
    }

    #[test]
    fn the_classes_are_disjoint() {
        check(r#"{"inputTokens":3,"outputTokens":7,"totalTokens":10}"#, [3, 0, 0, 0, 7]);
        check(
            r#"{"inputTokens":3,"outputTokens":7,"cacheReadInputTokens":100,"cacheWriteInputTokens":50}"#,
            [3, 100, 50, 0, 7],
        );
        check(
            r#"{"inputTokens":3,"outputTokens":7,"cacheWriteInputTokens":50,
                "cacheDetails":[{"ttl":"5m","inputTokens":20},{"ttl":"1h","inputTokens":30},7]}"#,
            [3, 0, 20, 30, 7],
        );
        check(r#"{"inputTokens":3,"cacheDetails":[{"ttl":"1h","inputTokens":8}]}"#, [3, 0, 0, 8, 0]);
        check(
            r#"{"cacheWriteInputTokens":5,"cacheDetails":[{"ttl":"1h","inputTokens":8}]}"#,
            [0, 0, 0, 5, 0],
        );
        check(r#"{"inputTokens":"many","outputTokens":null,"cacheDetails":{}}"#, [0, 0, 0, 0, 0]);
    }

    #[test]
    fn zeros_are_a_report_only_of_nothing() {
        let mut registers = UsageCounters::default();
        assert_eq!(registers.usage(true), None);
        registers.read(br#"{"inputTokens":0,"outputTokens":0}"#).unwrap();
        assert_eq!(registers.usage(false), None);
        assert!(registers.usage(true).is_some());
    }
}
