//! fal's image apps; their images depend only on the request, so that a test can predict them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::error::Refusal;
use crate::openai::checks::{Shape, Shape::*};
use crate::openai::pictures::PIXEL;

const SIDE_MAX: u64 = 14_142;

/// The fields that all image apps share.
#[rustfmt::skip]
pub(super) const COMMON: &[(&str, Shape)] = &[
    ("prompt", Text), ("acceleration", OneOf(&["none", "regular", "high"])), ("enable_safety_checker", Flag),
    ("guidance_scale", Decimal(1.0, 20.0)), ("image_size", TextOrObject), ("num_images", Integer(1, 4)),
    ("num_inference_steps", Integer(1, 50)), ("output_format", OneOf(&["jpeg", "png"])),
    ("seed", Integer(0, i64::MAX)), ("sync_mode", Flag),
];

/// The named image sizes.
#[rustfmt::skip]
const SIZES: &[(&str, (u64, u64))] = &[
    ("square_hd", (1024, 1024)), ("square", (512, 512)), ("portrait_4_3", (768, 1024)),
    ("portrait_16_9", (576, 1024)), ("landscape_4_3", (1024, 768)), ("landscape_16_9", (1024, 576)),
];

/// The requested images.
#[derive(Debug, Clone)]
pub(super) struct Pictures {
    count: u64,
    size: (u64, u64),
    format: String,
    by_data: bool,
    seed: u64,
}

impl Pictures {
    pub(super) fn of(fields: &Map<String, Value>) -> Result<Self, Refusal> {
        Ok(Self {
            count: fields.get("num_images").and_then(Value::as_u64).unwrap_or(1),
            size: size(fields.get("image_size"))?,
            format: fields.get("output_format").and_then(Value::as_str).unwrap_or("jpeg").to_owned(),
            by_data: fields.get("sync_mode") == Some(&Value::Bool(true)),
            seed: fields.get("seed").and_then(Value::as_u64).unwrap_or(42),
        })
    }

    /// The megapixels of all images together.
    pub(super) fn megapixels(&self) -> f64 {
        let pixels = u32::try_from(self.count * self.size.0 * self.size.1).unwrap_or(u32::MAX);
        f64::from(pixels) / 1e6
    }

    pub(super) fn answer(&self, prompt: &str) -> Value {
        let (width, height) = self.size;
        let media = format!("image/{}", self.format);
        let images: Vec<Value> = (0..self.count)
            .map(|at| {
                let url = if self.by_data {
                    format!("data:{media};base64,{}", STANDARD.encode(PIXEL))
                } else {
                    format!("https://v3.fal.media/files/tide/{at}.{}", self.format)
                };
                json!({"url": url, "width": width, "height": height, "content_type": media})
            })
            .collect();
        let flags = vec![false; images.len()];
        json!({
            "images": images, "timings": {"inference": 0.25}, "seed": self.seed, "has_nsfw_concepts": flags,
            "prompt": prompt,
        })
    }
}

fn size(value: Option<&Value>) -> Result<(u64, u64), Refusal> {
    let wrong = |at: &[&str], message: &str| {
        Err(Refusal::wrong(&[&["body", "image_size"], at].concat(), "value_error", message))
    };
    match value {
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
