//! Reads and checks a request's sampling parameters.
#![expect(
    clippy::cast_possible_truncation,
    reason = "settings are read in double precision and drawn by in single"
)]

use domain::prompt::Json;
use domain::runtime::GenerateRequest;
use domain::{Fault, FaultClass};

use super::chat::Defaults;
use crate::limits::TOP_LOGPROBS_MAX;
use crate::sampler::Sampling;

/// The distance between the seeds of a request's choices.
const NEXT_SEED: u64 = 0x9E37_79B9_7F4A_7C15;

/// The sampling parameters of a request with one or several choices.
#[derive(Debug)]
pub(super) struct Drawing {
    sampling: Sampling,
    count: u32,
}

impl Drawing {
    /// One for each choice. The first has the request's own seed, as if it were the only one.
    pub(super) fn choices(&self) -> impl Iterator<Item = Sampling> + '_ {
        (0..u64::from(self.count)).map(|choice| Sampling {
            seed: self.sampling.seed.wrapping_add(choice.wrapping_mul(NEXT_SEED)),
            ..self.sampling.clone()
        })
    }
}

pub(super) fn read(request: &GenerateRequest, defaults: &Defaults, fresh: u64) -> Result<Drawing, Fault> {
    let requested = &request.prompt.sampling;
    let within = |json: &Option<Json>, name, least, most| number(json.as_ref(), name, least, most);
    let top_k = requested.top_k.map(|count| usize::try_from(count).unwrap_or(usize::MAX));
    let sampling = Sampling {
        temperature: within(&requested.temperature, "temperature", 0.0, 2.0)?.unwrap_or(defaults.temperature),
        top_p: within(&requested.top_p, "top_p", 0.0, 1.0)?.unwrap_or(defaults.top_p),
        // 0 means that top-k is off.
        top_k: top_k.or(defaults.top_k).filter(|count| *count > 0),
        min_p: request.parameters.min_p.map_or(0.0, |part| part as f32),
        presence_penalty: within(&requested.presence_penalty, "presence_penalty", -2.0, 2.0)?.unwrap_or(0.0),
        frequency_penalty: within(&requested.frequency_penalty, "frequency_penalty", -2.0, 2.0)?
            .unwrap_or(0.0),
        repetition_penalty: request.parameters.repetition_penalty.map_or(1.0, |penalty| penalty as f32),
        bias: requested.logit_bias.as_ref().map_or_else(|| Ok(Vec::new()), biases)?,
        seed: requested.seed.map_or(fresh, i64::cast_unsigned),
        logprobs: logprobs(request)?,
    };
    Ok(Drawing { sampling, count: requested.choices.unwrap_or(1) })
}

fn out_of_range(name: &str, fix: String) -> Fault {
    let message = format!("\"{name}\" is out of range.");
    Fault::new(FaultClass::BadRequest, "invalid_value", message).param(name.to_owned()).fix(fix)
}

fn number(json: Option<&Json>, name: &str, least: f32, most: f32) -> Result<Option<f32>, Fault> {
    let Some(json) = json else { return Ok(None) };
    let value = json.as_str().parse::<f32>().ok().filter(|value| (least..=most).contains(value));
    value.map(Some).ok_or_else(|| out_of_range(name, format!("Send a number from {least} to {most}.")))
}

/// `{"token": bias}`, where the key is a token id.
fn biases(json: &Json) -> Result<Vec<(u32, f32)>, Fault> {
    let wrong = || {
        out_of_range("logit_bias", "Send an object of token IDs with numbers from -100 to 100.".to_owned())
    };
    let all: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(json.as_str()).map_err(|_| wrong())?;
    let each = |(token, bias): (&String, &serde_json::Value)| {
        let bias = bias.as_f64().filter(|bias| (-100.0..=100.0).contains(bias));
        Some((token.parse().ok()?, bias? as f32))
    };
    all.iter().map(|pair| each(pair).ok_or_else(wrong)).collect()
}

fn logprobs(request: &GenerateRequest) -> Result<Option<usize>, Fault> {
    let sampling = &request.prompt.sampling;
    match sampling.top_logprobs {
        Some(count) if count > TOP_LOGPROBS_MAX => {
            Err(out_of_range("top_logprobs", format!("Send a whole number from 0 to {TOP_LOGPROBS_MAX}.")))
        }
        count => Ok(sampling.logprobs.then(|| usize::try_from(count.unwrap_or(0)).unwrap_or(0))),
    }
}
