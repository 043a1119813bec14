//! Its apps: which fields each takes, and what it makes of them, so that a test knows it beforehand.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::error::Refusal;
use crate::emulator::answering::streamed;
use crate::emulator::frames::{self, Event};
use crate::emulator::service::Answer;
use crate::emulator::{Behaviour, Place};
use crate::openai::checks::{self, Shape};
use crate::openai::pictures::PIXEL;

/// Whoever asks for this is told of the rules.
const FORBIDDEN: &str = "forbidden";
const SIDE_MAX: u64 = 14_142;

/// What apps of this kind have in common.
const COMMON: &[(&str, Shape)] = &[
    ("prompt", Shape::Text),
    ("acceleration", Shape::OneOf(&["none", "regular", "high"])),
    ("enable_safety_checker", Shape::Flag),
    ("guidance_scale", Shape::Decimal(1.0, 20.0)),
    ("image_size", Shape::TextOrObject),
    ("num_images", Shape::Integer(1, 4)),
    ("num_inference_steps", Shape::Integer(1, 50)),
    ("output_format", Shape::OneOf(&["jpeg", "png"])),
    ("seed", Shape::Integer(0, i64::MAX)),
    ("sync_mode", Shape::Flag),
];

/// Sizes that have a name.
const SIZES: &[(&str, (u64, u64))] = &[
    ("square_hd", (1024, 1024)),
    ("square", (512, 512)),
    ("portrait_4_3", (768, 1024)),
    ("portrait_16_9", (576, 1024)),
    ("landscape_4_3", (1024, 768)),
    ("landscape_16_9", (1024, 576)),
];

pub(super) struct App {
    pub(super) id: &'static str,
    /// Whether it tells how far it is.
    streams: bool,
}

const APPS: &[App] = &[
    App { id: "fal-ai/flux-1/schnell", streams: false },
    App { id: "fal-ai/flux/schnell", streams: true },
    App { id: "fal-ai/flux/dev", streams: false },
];

impl App {
    pub(super) fn find(named: &str) -> Result<&'static Self, Refusal> {
        let app = APPS.iter().find(|app| app.id == named);
        app.ok_or_else(|| Refusal::new(404, &format!("Application \"{named}\" not found")))
    }

    pub(super) fn read(&self, fields: &Map<String, Value>) -> Result<Asked, Refusal> {
        let Some(Value::String(prompt)) = fields.get("prompt") else {
            return Err(Refusal::wrong(&["body", "prompt"], "missing", "Field required"));
        };
        for (name, value) in fields {
            let Some((_, shape)) = COMMON.iter().find(|(known, _)| known == name) else {
                let message = "Extra inputs are not permitted";
                return Err(Refusal::wrong(&["body", name], "extra_forbidden", message));
            };
            checks::shape(name, shape, value)
                .map_err(|error| Refusal::wrong(&["body", name], "value_error", &error.message))?;
        }
        let count = fields.get("num_images").and_then(Value::as_u64).unwrap_or(1);
        let format = fields.get("output_format").and_then(Value::as_str).unwrap_or("jpeg");
        Ok(Asked {
            prompt: prompt.clone(),
            count,
            size: size(fields.get("image_size"))?,
            format: format.to_owned(),
            by_data: fields.get("sync_mode") == Some(&Value::Bool(true)),
            seed: fields.get("seed").and_then(Value::as_u64).unwrap_or(42),
        })
    }
}

fn size(said: Option<&Value>) -> Result<(u64, u64), Refusal> {
    let wrong = |at: &[&str], message: &str| {
        Err(Refusal::wrong(&[&["body", "image_size"], at].concat(), "value_error", message))
    };
    match said {
        None => Ok((1024, 768)),
        Some(Value::String(named)) => match SIZES.iter().find(|(name, _)| name == named) {
            Some((_, sides)) => Ok(*sides),
            None => {
                wrong(&[], "Input should be 'square_hd', 'square', 'portrait_4_3' or another name of a size")
            }
        },
        Some(sides) => {
            let side = |name: &str| sides.get(name).and_then(Value::as_u64).unwrap_or(512);
            let (width, height) = (side("width"), side("height"));
            match [("width", width), ("height", height)]
                .iter()
                .find(|(_, side)| !(1..=SIDE_MAX).contains(side))
            {
                Some((name, _)) => wrong(&[name], "Input should be less than or equal to 14142"),
                None => Ok((width, height)),
            }
        }
    }
}

/// What an app was asked for.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    prompt: String,
    count: u64,
    size: (u64, u64),
    format: String,
    by_data: bool,
    seed: u64,
}

impl Asked {
    pub(super) fn check(&self) -> Result<(), Refusal> {
        if self.prompt.contains(FORBIDDEN) { Err(Refusal::policy()) } else { Ok(()) }
    }

    /// Of all its pictures.
    pub(super) fn megapixels(&self) -> f64 {
        let pixels = u32::try_from(self.count * self.size.0 * self.size.1).unwrap_or(u32::MAX);
        f64::from(pixels) / 1e6
    }

    pub(super) fn answer(&self) -> Value {
        let (width, height) = self.size;
        let media = format!("image/{}", self.format);
        let images: Vec<Value> = (0..self.count)
            .map(|at| {
                let url = match self.by_data {
                    true => format!("data:{media};base64,{}", STANDARD.encode(PIXEL)),
                    false => format!("https://v3.fal.media/files/tide/{at}.{}", self.format),
                };
                json!({"url": url, "width": width, "height": height, "content_type": media})
            })
            .collect();
        let flags = vec![false; images.len()];
        json!({
            "images": images,
            "timings": {"inference": 0.25},
            "seed": self.seed,
            "has_nsfw_concepts": flags,
            "prompt": self.prompt,
        })
    }

    /// How far it is, and what it made.
    pub(super) fn streamed(&self, app: &App, behaviour: &Behaviour) -> Result<Answer, Refusal> {
        if !app.streams {
            return Err(Refusal::new(404, "Path /stream not found"));
        }
        let one = |data: Value, place| Event { name: None, data: data.to_string(), tokens: 0, place };
        let far = |part: f64| one(json!({"progress": part, "message": "Generating..."}), Place::Content);
        let events = vec![far(0.25), far(0.75), one(self.answer(), Place::Finish)];
        let error = || {
            let data = json!({"detail": "The runner disconnected", "error_type": "runner_disconnected"});
            Event { name: Some("error"), data: data.to_string(), tokens: 0, place: Place::Error }
        };
        let mut answer = streamed(frames::parts(events, behaviour, error), behaviour)?;
        answer.headers.extend(self.units(behaviour));
        Ok(answer)
    }
}
