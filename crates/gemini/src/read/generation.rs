//! Reads `generationConfig`.

use domain::prompt::{Effort, OutputFormat, ThinkingVisibility};
use domain::{Fault, Json};
use json::fields::optional_boolean;
use json::refusal::wrong_value;
use json::{Cursor, Kind};

use super::Reading;
use crate::names::{count, each, members, number, raw, text, whole, word};
use crate::schema::to_json_schema;

/// The response format, which several fields define together.
#[derive(Default)]
struct Form {
    media_type: Option<String>,
    media_type_path: String,
    vendor_schema: Option<Json>,
    json_schema: Option<Json>,
}

impl Reading {
    pub(super) fn generation(&mut self, cursor: &mut Cursor<'_>, path: &str) -> Result<(), Box<Fault>> {
        let mut form = Form::default();
        members(cursor, path, |cursor, name, written| {
            let path = format!("{path}.{written}");
            if self.sampling(cursor, name, &path)? {
                return Ok(());
            }
            self.output(cursor, name, path, &mut form)
        })?;
        self.settle_form(form);
        Ok(())
    }

    /// Returns `false` if the field is not a sampling parameter; it is then left unread.
    fn sampling(&mut self, cursor: &mut Cursor<'_>, name: &str, path: &str) -> Result<bool, Box<Fault>> {
        let sampling = &mut self.prompt.sampling;
        match name {
            "temperature" => sampling.temperature = number(cursor, path)?,
            "topP" => sampling.top_p = number(cursor, path)?,
            "topK" => sampling.top_k = count(cursor, path)?,
            "seed" => sampling.seed = whole(cursor, path)?,
            "presencePenalty" => sampling.presence_penalty = number(cursor, path)?,
            "frequencyPenalty" => sampling.frequency_penalty = number(cursor, path)?,
            "responseLogprobs" => sampling.logprobs = optional_boolean(cursor, path)?.unwrap_or(false),
            "logprobs" => sampling.top_logprobs = count(cursor, path)?,
            "candidateCount" => {
                let choices = count(cursor, path)?;
                sampling.choices = choices.map(|choices| u32::try_from(choices).unwrap_or(u32::MAX));
            }
            "stopSequences" => each(cursor, |cursor, _| {
                sampling.stop.extend(text(cursor, path)?);
                Ok::<(), Box<Fault>>(())
            })?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn output(
        &mut self,
        cursor: &mut Cursor<'_>,
        name: &str,
        path: String,
        form: &mut Form,
    ) -> Result<(), Box<Fault>> {
        match name {
            "maxOutputTokens" => self.prompt.output.tokens_max = count(cursor, &path)?,
            "responseMimeType" => {
                form.media_type = text(cursor, &path)?.map(|word| word.to_ascii_lowercase());
                form.media_type_path = path;
            }
            "responseSchema" if cursor.kind()? == Kind::Object => {
                form.vendor_schema = Some(to_json_schema(cursor)?);
            }
            "responseJsonSchema" => form.json_schema = raw(cursor)?,
            "responseModalities" => each(cursor, |cursor, _| {
                let modality = text(cursor, &path)?.unwrap_or_default().to_ascii_lowercase();
                if !matches!(modality.as_str(), "" | "text" | "modality_unspecified") {
                    self.prompt.output.modalities.push(modality);
                }
                Ok::<(), Box<Fault>>(())
            })?,
            "speechConfig" => self.speech(cursor, &path)?,
            "thinkingConfig" => self.thinking(cursor, &path)?,
            "mediaResolution" | "enableEnhancedCivicAnswers" | "routingConfig" | "modelSelectionConfig" => {
                self.extra(cursor, path, false)?;
            }
            _ => self.extra(cursor, path, true)?,
        }
        Ok(())
    }

    fn settle_form(&mut self, form: Form) {
        let schema = form.json_schema.or(form.vendor_schema);
        self.prompt.output.format = match (schema, form.media_type.as_deref()) {
            (Some(schema), media_type) => {
                if !matches!(media_type, None | Some("" | "application/json")) {
                    // With `text/x.enum` the response is a bare enum value, which is not JSON.
                    self.note(form.media_type_path, true);
                }
                Some(OutputFormat::JsonSchema { name: None, description: None, schema, strict: None })
            }
            (None, Some("application/json")) => Some(OutputFormat::JsonObject),
            (None, Some("text/plain")) => Some(OutputFormat::Text),
            (None, None | Some("")) => None,
            (None, Some(_)) => {
                self.note(form.media_type_path, true);
                None
            }
        };
    }

    /// Reads the speech settings. Other dialects have an equivalent of a prebuilt voice only.
    fn speech(&mut self, cursor: &mut Cursor<'_>, path: &str) -> Result<(), Box<Fault>> {
        members(cursor, path, |cursor, name, written| {
            let path = format!("{path}.{written}");
            if name != "voiceConfig" {
                return Ok(self.extra(cursor, path, true)?);
            }
            members(cursor, &path, |cursor, name, written| {
                let path = format!("{path}.{written}");
                if name != "prebuiltVoiceConfig" {
                    return Ok(self.extra(cursor, path, true)?);
                }
                members(cursor, &path, |cursor, name, written| {
                    let path = format!("{path}.{written}");
                    if name != "voiceName" {
                        return Ok(self.extra(cursor, path, true)?);
                    }
                    let voice = text(cursor, &path)?;
                    let quoted = voice.and_then(|voice| serde_json::to_string(&voice).ok());
                    self.prompt.output.audio = quoted.map(|voice| Json(format!("{{\"voice\":{voice}}}")));
                    Ok::<(), Box<Fault>>(())
                })
            })
        })
    }

    fn thinking(&mut self, cursor: &mut Cursor<'_>, path: &str) -> Result<(), Box<Fault>> {
        members(cursor, path, |cursor, name, written| {
            let path = format!("{path}.{written}");
            match name {
                "includeThoughts" => {
                    let visibility =
                        |yes| if yes { ThinkingVisibility::Summary } else { ThinkingVisibility::Nothing };
                    self.prompt.reasoning.visibility = optional_boolean(cursor, &path)?.map(visibility);
                }
                "thinkingBudget" => match whole(cursor, &path)? {
                    None => {}
                    Some(-1) => self.prompt.reasoning.is_adaptive = true,
                    Some(0) => self.prompt.reasoning.effort = Some(Effort::None),
                    Some(budget) => self.prompt.reasoning.budget_tokens = Some(positive(budget, &path)?),
                },
                "thinkingLevel" => match word(cursor, &path)?.as_deref() {
                    None | Some("" | "THINKING_LEVEL_UNSPECIFIED") => {}
                    Some(word) => match Effort::of(word) {
                        Some(effort) => self.prompt.reasoning.effort = Some(effort),
                        None => self.note(path, false),
                    },
                },
                _ => self.extra(cursor, path, true)?,
            }
            Ok::<(), Box<Fault>>(())
        })
    }
}

fn positive(budget: i64, path: &str) -> Result<u64, Box<Fault>> {
    u64::try_from(budget).map_err(|_| {
        let fix = "Send -1 to let the model decide, 0 for no thinking, or a number of tokens.".to_owned();
        wrong_value(path.to_owned(), "isn't a token budget", fix)
    })
}
