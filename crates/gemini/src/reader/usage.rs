//! Token usage as the Gemini API reports it.

use conversation::fields::optional_tier;
use domain::{Tier, Units, Usage, UsageSource, split_media};
use json::{Cursor, JsonError, Kind, Value};

use crate::names::camel;

/// The tokens of one count that are sound or pictures. Text, videos and documents are the rest: they have one price.
#[derive(Debug, Clone, Copy, Default)]
struct Media {
    audio: u64,
    image: u64,
}

/// Gemini's counters, each at its latest value: reports are cumulative and never summed.
#[derive(Debug, Default)]
pub(crate) struct UsageCounters {
    prompt: Option<u64>,
    candidates: Option<u64>,
    thoughts: Option<u64>,
    tool_use: Option<u64>,
    cached: Option<u64>,
    /// How much of each count is sound or pictures.
    prompt_media: Option<Media>,
    tool_use_media: Option<Media>,
    cached_media: Option<Media>,
    candidates_media: Option<Media>,
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
            let name = member.key.decode();
            let name = camel(&name);
            let details = match &*name {
                "promptTokensDetails" => Some(&mut self.prompt_media),
                "toolUsePromptTokensDetails" => Some(&mut self.tool_use_media),
                "cacheTokensDetails" => Some(&mut self.cached_media),
                "candidatesTokensDetails" => Some(&mut self.candidates_media),
                _ => None,
            };
            if let Some(details) = details {
                *details = read_media(cursor)?.or(*details);
                return Ok(());
            }
            let register = match &*name {
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
        let media = |details: Option<Media>| details.unwrap_or_default();
        // What is cached is part of the prompt, and is counted once only.
        let (seen, used, cached) =
            (media(self.prompt_media), media(self.tool_use_media), media(self.cached_media));
        let fresh = |seen: u64, used: u64, cached: u64| seen.saturating_add(used).saturating_sub(cached);
        let heard = Media {
            audio: fresh(seen.audio, used.audio, cached.audio),
            image: fresh(seen.image, used.image, cached.image),
        };
        let (input, heard) = heard.within(prompt.saturating_sub(of(self.cached)));
        let (output, made) = media(self.candidates_media).within(of(self.candidates));
        let units = Units {
            audio_in: heard.audio,
            image_in: heard.image,
            audio_out: made.audio,
            image_out: made.image,
            web_searches: self.searches,
            ..Units::default()
        };
        Some(Usage {
            input,
            cached_read: of(self.cached),
            cache_write: 0,
            cache_write_long: 0,
            output,
            reasoning: of(self.thoughts),
            units,
            tier: self.tier,
            source: UsageSource::Provider,
        })
    }
}

impl Media {
    /// The rest of a count that these are part of, and these, no more than the count.
    fn within(self, all: u64) -> (u64, Self) {
        let (rest, audio, image) = split_media(all, self.audio, self.image);
        (rest, Self { audio, image })
    }
}

/// Reads a list of counts by modality; `None` where it is not one.
fn read_media(cursor: &mut Cursor<'_>) -> Result<Option<Media>, JsonError> {
    if cursor.kind()? != Kind::Array {
        cursor.ignore()?;
        return Ok(None);
    }
    let mut media = Media::default();
    cursor.array(|cursor, _| {
        if cursor.kind()? != Kind::Object {
            return cursor.ignore();
        }
        let (mut modality, mut count) = (None, 0);
        cursor.object(|cursor, member| {
            match &*camel(&member.key.decode()) {
                "modality" => modality = Some(cursor.value()?),
                "tokenCount" => count = cursor.count()?.unwrap_or(count),
                _ => cursor.ignore()?,
            }
            Ok::<(), JsonError>(())
        })?;
        match modality {
            Some(Value::String(name)) if name.is("AUDIO") => media.audio = media.audio.saturating_add(count),
            Some(Value::String(name)) if name.is("IMAGE") => media.image = media.image.saturating_add(count),
            _ => {}
        }
        Ok(())
    })?;
    Ok(Some(media))
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
    fn sound_and_pictures_are_counted_apart_and_what_is_cached_once() {
        let mut registers = UsageCounters::default();
        registers
            .read(br#"{"promptTokenCount":10100,"toolUsePromptTokenCount":20,"cachedContentTokenCount":4000,
                "candidatesTokenCount":1300,"thoughtsTokenCount":7,
                "promptTokensDetails":[{"modality":"TEXT","tokenCount":50},{"modality":"AUDIO","tokenCount":9000},
                    {"modality":"IMAGE","tokenCount":1000},{"modality":"VIDEO","tokenCount":50}],
                "toolUsePromptTokensDetails":[{"modality":"IMAGE","tokenCount":15}],
                "cacheTokensDetails":[{"modality":"AUDIO","tokenCount":3500},{"modality":"IMAGE","tokenCount":500}],
                "candidatesTokensDetails":[{"modality":"IMAGE","tokenCount":1290}]}"#)
            .unwrap();
        // A later report without the details leaves them.
        registers.read(br#"{"promptTokensDetails":null,"candidatesTokenCount":1301}"#).unwrap();
        let usage = registers.usage(true).unwrap();
        let Units { audio_in, image_in, audio_out, image_out, .. } = usage.units;
        assert_eq!([audio_in, image_in, audio_out, image_out], [5_500, 515, 0, 1_290]);
        assert_eq!([usage.input, usage.cached_read, usage.output, usage.reasoning], [105, 4_000, 11, 7]);
        assert_eq!((usage.prompt_total(), usage.completion_total()), (10_120, 1_308));
    }

    #[test]
    fn details_are_part_of_their_count() {
        let mut registers = UsageCounters::default();
        registers
            .read(br#"{"promptTokenCount":10,"cachedContentTokenCount":4,"candidatesTokenCount":3,
                "promptTokensDetails":[{"modality":"AUDIO","tokenCount":10}, 7],
                "candidatesTokensDetails":[{"modality":"AUDIO","tokenCount":9},{"modality":"IMAGE","tokenCount":9}]}"#)
            .unwrap();
        let usage = registers.usage(true).unwrap();
        assert_eq!((usage.input, usage.units.audio_in, usage.cached_read), (0, 6, 4));
        assert_eq!((usage.output, usage.units.audio_out, usage.units.image_out), (0, 3, 0));
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
