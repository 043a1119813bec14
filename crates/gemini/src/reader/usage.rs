//! Token usage as the Gemini API reports it.

use conversation::fields::optional_tier;
use domain::{Tier, Units, Usage, UsageSource};
use json::{Cursor, JsonError, Kind};

use crate::names::camel;

/// Gemini's counters, each at its latest value: reports are cumulative and never summed.
#[derive(Debug, Default)]
pub(crate) struct UsageCounters {
    prompt: Option<u64>,
    candidates: Option<u64>,
    thoughts: Option<u64>,
    tool_use: Option<u64>,
    cached: Option<u64>,
    /// Web searches that the candidates are grounded on.
    searches: u64,
    tier: Option<Tier>,
    seen: bool,
}

impl UsageCounters {
    pub(crate) fn read(&mut self, report: &[u8]) -> Result<(), JsonError> {
        let mut cursor = Cursor::new(report)?;
        if cursor.kind()? != Kind::Object {
            return Ok(());
        }
        self.seen = true;
        cursor.object(|cursor, member| {
            let register = match &*camel(&member.key.decode()) {
                "promptTokenCount" => &mut self.prompt,
                "candidatesTokenCount" => &mut self.candidates,
                "thoughtsTokenCount" => &mut self.thoughts,
                "toolUsePromptTokenCount" => &mut self.tool_use,
                "cachedContentTokenCount" => &mut self.cached,
                "serviceTier" | "trafficType" => {
                    self.tier = optional_tier(cursor)?.or(self.tier);
                    return Ok(());
                }
                _ => return cursor.ignore(),
            };
            if let Some(count) = cursor.count()? {
                *register = Some(count);
            }
            Ok::<(), JsonError>(())
        })?;
        Ok(())
    }

    /// Notes a candidate's searches. Its grounding metadata is repeated as it grows, so the largest count
    /// stands.
    pub(crate) fn note_searches(&mut self, searches: u64) {
        self.searches = self.searches.max(searches);
    }

    /// The counts in disjoint classes. `None` if nothing was reported, or only zeros for a response that has
    /// content: such zeros are not a report, and the caller estimates.
    pub(crate) fn usage(&self, has_content: bool) -> Option<Usage> {
        let of = |register: Option<u64>| register.unwrap_or(0);
        let prompt = of(self.prompt).saturating_add(of(self.tool_use));
        let is_blank = prompt == 0 && of(self.candidates) == 0 && of(self.thoughts) == 0;
        if !self.seen || (is_blank && has_content) {
            return None;
        }
        Some(Usage {
            input: prompt.saturating_sub(of(self.cached)),
            cached_read: of(self.cached),
            cache_write: 0,
            cache_write_long: 0,
            output: of(self.candidates),
            reasoning: of(self.thoughts),
            units: Units { web_searches: self.searches, ..Units::default() },
            tier: self.tier,
            source: UsageSource::Provider,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prompt_holds_the_cached_and_the_candidates_no_thoughts() {
        let mut registers = UsageCounters::default();
        registers.read(br#"{"promptTokenCount":100,"candidatesTokenCount":1}"#).unwrap();
        registers
            .read(br#"{"promptTokenCount":100,"cachedContentTokenCount":60,"toolUsePromptTokenCount":7,
                "candidatesTokenCount":20,"thoughtsTokenCount":30,"totalTokenCount":157,"promptTokensDetails":[{}]}"#)
            .unwrap();
        let usage = registers.usage(true).unwrap();
        assert_eq!([usage.input, usage.cached_read, usage.output, usage.reasoning], [47, 60, 20, 30]);
    }

    #[test]
    fn nothing_or_zeros_of_a_full_answer_are_no_report() {
        let mut registers = UsageCounters::default();
        assert_eq!(registers.usage(true), None);
        registers.read(b"null").unwrap();
        assert_eq!(registers.usage(false), None);
        registers.read(br#"{"promptTokenCount":0}"#).unwrap();
        assert_eq!(registers.usage(true), None);
        assert!(registers.usage(false).is_some());
    }
}
