//! fal's apps: the fields that each accepts, and its output.

use serde_json::{Map, Value, json};

use super::error::Refusal;
use super::pictures::{self, Pictures};
use super::sounds::{self, Speech, Transcription};
use super::videos::{self, VideoOutput};
use crate::emulator::answering::streamed;
use crate::emulator::frames::{self, Event};
use crate::emulator::service::Answer;
use crate::emulator::{Behaviour, PartRole};
use crate::openai::checks::{self, Shape};

/// A prompt with the first is rejected by the content policy, with the other it fails.
const FORBIDDEN: &str = "forbidden";
const BROKEN: &str = "broken off";

pub(super) struct App {
    pub(super) id: &'static str,
    /// Whether it streams its progress.
    streams: bool,
    output_kind: OutputKind,
    fields: &'static [(&'static str, Shape)],
    /// The one required field.
    needs: &'static str,
}

#[derive(Debug, Clone, Copy)]
enum OutputKind {
    Pictures,
    /// Videos, with this default length in seconds.
    Videos(u32),
    /// Speech, as files of this type.
    Speech(&'static str),
    Texts,
}

const fn app(
    id: &'static str,
    output_kind: OutputKind,
    fields: &'static [(&'static str, Shape)],
    needs: &'static str,
) -> App {
    App { id, streams: false, output_kind, fields, needs }
}

const APPS: &[App] = &[
    app("fal-ai/flux-1/schnell", OutputKind::Pictures, pictures::COMMON, "prompt"),
    App { streams: true, ..app("fal-ai/flux/schnell", OutputKind::Pictures, pictures::COMMON, "prompt") },
    app("fal-ai/flux/dev", OutputKind::Pictures, pictures::COMMON, "prompt"),
    app("fal-ai/kling-video/v2.5-turbo/pro/text-to-video", OutputKind::Videos(5), videos::KLING, "prompt"),
    app("fal-ai/veo3", OutputKind::Videos(8), videos::VEO, "prompt"),
    app("fal-ai/kokoro/american-english", OutputKind::Speech("wav"), sounds::KOKORO, "prompt"),
    app("fal-ai/minimax/speech-02-turbo", OutputKind::Speech("mp3"), sounds::MINIMAX, "text"),
    app("fal-ai/whisper", OutputKind::Texts, sounds::WHISPER, "audio_url"),
    app("fal-ai/wizper", OutputKind::Texts, sounds::WIZPER, "audio_url"),
];

impl App {
    pub(super) fn find(named: &str) -> Result<&'static Self, Refusal> {
        let app = APPS.iter().find(|app| app.id == named);
        app.ok_or_else(|| Refusal::new(404, &format!("Application \"{named}\" not found")))
    }

    pub(super) fn read(&self, fields: &Map<String, Value>) -> Result<AppRequest, Refusal> {
        let Some(Value::String(prompt)) = fields.get(self.needs) else {
            return Err(Refusal::wrong(&["body", self.needs], "missing", "Field required"));
        };
        for (name, value) in fields {
            let Some((_, shape)) = self.fields.iter().find(|(known, _)| known == name) else {
                let message = "Extra inputs are not permitted";
                return Err(Refusal::wrong(&["body", name], "extra_forbidden", message));
            };
            checks::shape(name, shape, value)
                .map_err(|error| Refusal::wrong(&["body", name], "value_error", &error.message))?;
        }
        let output = match self.output_kind {
            OutputKind::Pictures => RequestedOutput::Pictures(Pictures::of(fields)?),
            OutputKind::Videos(usual) => RequestedOutput::Video(VideoOutput::of(fields, usual)),
            OutputKind::Speech(kind) => RequestedOutput::Speech(Speech::of(fields, kind)?),
            OutputKind::Texts => RequestedOutput::Text(Transcription::of(fields)?),
        };
        Ok(AppRequest { prompt: prompt.clone(), output })
    }
}

/// A request to an app.
#[derive(Debug, Clone)]
pub(super) struct AppRequest {
    prompt: String,
    output: RequestedOutput,
}

#[derive(Debug, Clone)]
enum RequestedOutput {
    Pictures(Pictures),
    Video(VideoOutput),
    Speech(Speech),
    Text(Transcription),
}

impl AppRequest {
    pub(super) fn check(&self) -> Result<(), Refusal> {
        match &self.prompt {
            prompt if prompt.contains(FORBIDDEN) => Err(Refusal::policy()),
            prompt if prompt.contains(BROKEN) => Err(Refusal::new(500, "Internal Server Error")),
            _ => Ok(()),
        }
    }

    /// The billed quantity, in the app's billing unit.
    pub(super) fn billed_units(&self) -> f64 {
        match &self.output {
            RequestedOutput::Pictures(pictures) => pictures.megapixels(),
            RequestedOutput::Video(video) => f64::from(video.seconds),
            RequestedOutput::Speech(_) => {
                f64::from(u32::try_from(self.prompt.chars().count()).unwrap_or(u32::MAX)) / 1e3
            }
            RequestedOutput::Text(transcription) => transcription.compute_seconds(),
        }
    }

    /// The response; `base` is the URL below which its files are served.
    pub(super) fn answer(&self, base: &str) -> Value {
        match &self.output {
            RequestedOutput::Pictures(pictures) => pictures.answer(&self.prompt),
            RequestedOutput::Video(video) => video.answer(&self.prompt, base),
            RequestedOutput::Speech(speech) => speech.answer(&self.prompt, base),
            RequestedOutput::Text(transcription) => transcription.answer(),
        }
    }

    /// The response as a stream of progress events, then the output.
    pub(super) fn streamed(&self, app: &App, behaviour: &Behaviour, base: &str) -> Result<Answer, Refusal> {
        if !app.streams {
            return Err(Refusal::new(404, "Path /stream not found"));
        }
        let one = |data: Value, role| Event { name: None, data: data.to_string(), tokens: 0, role };
        let far = |part: f64| one(json!({"progress": part, "message": "Generating..."}), PartRole::Content);
        let events = vec![far(0.25), far(0.75), one(self.answer(base), PartRole::Finish)];
        let error = || {
            let data = json!({"detail": "The runner disconnected", "error_type": "runner_disconnected"});
            Event { name: Some("error"), data: data.to_string(), tokens: 0, role: PartRole::Error }
        };
        let mut answer = streamed(frames::parts(events, behaviour, error), behaviour)?;
        answer.headers.extend(self.units(behaviour));
        Ok(answer)
    }
}
