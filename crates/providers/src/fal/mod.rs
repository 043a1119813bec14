//! fal: apps of many vendors, each at its own path, with mostly the same parameters. The billed amount is in
//! a response header, in the app's own billing unit.

mod address;
mod class;
mod files;
mod images;
mod queued_video;
mod speech;
mod transcription;
mod videos;

use bytes::Bytes;
use conversation::request::{Stored, StoredAct};
use domain::{Fault, Grammar, Hosting, Operation};
use http::HeaderMap;
use operations::images::ImageRequest;
use serde::Deserialize;

use self::address::{HOST, app_path};
use crate::compatible::EncodedBody;
use crate::escape::{UNRESERVED, escape};
use crate::{
    Classified, FollowUp, IntermediateAnswer, Leading, ModelRequest, Outgoing, Provider, Queueing,
    ServerFacts, Signer, Taken, Target, auth, compatible,
};

const SCHEME: &str = "Key ";
/// The host that returns prices to any valid key.
const PLATFORM: &str = "://api.fal.ai";
const UNITS: &str = "x-fal-billable-units";
const REQUEST_ID: &str = "x-fal-request-id";
/// Apps that can stream their progress. Others answer only when finished; their clients get that as a stream
/// of one result.
const STREAMING: &[&str] = &["fal-ai/flux/schnell"];
/// The app whose price is requested.
const PRICED: &str = "fal-ai/flux-1/schnell";

/// App parameters that are passed on unchanged: none affects how many images are returned, or in which form.
const OWN_WORDS: &[&str] = &[
    "acceleration",
    "aspect_ratio",
    "enable_safety_checker",
    "guidance_scale",
    "image_size",
    "negative_prompt",
    "num_inference_steps",
    "safety_tolerance",
    "seed",
];

pub(crate) struct Fal;

impl Provider for Fal {
    /// Its formats are its own.
    fn grammars(&self, _operation: Operation, _upstream_model: &str) -> &'static [Grammar] {
        &[]
    }

    fn has_own_format(&self, operation: Operation, _upstream_model: &str) -> bool {
        matches!(
            operation,
            Operation::Images
                | Operation::Video
                | Operation::Speech
                | Operation::Transcribe
                | Operation::Translate
        )
    }

    fn generate(&self, target: &Target<'_>, ask: &ModelRequest<'_>) -> Result<Outgoing, Box<Fault>> {
        match ask.operation {
            Operation::Images => {}
            Operation::Video => return videos::generate(target, ask),
            Operation::Speech => return speech::generate(target, ask),
            Operation::Transcribe | Operation::Translate => return transcription::generate(target, ask),
            _ => return Err(compatible::unsupported_operation(ask.operation)),
        }
        let mut path = app_path(target.upstream_model)?;
        // A queued request has no stream; its result is polled.
        let queue = target.hosting.queue_url.as_deref();
        if ask.request.stream && queue.is_none() && STREAMING.contains(&target.upstream_model) {
            path.push_str("/stream");
        }
        let request = ImageRequest::read(ask.grammar, ask.body, ask.is_lenient)?;
        let translated = images::write(request, OWN_WORDS)?;
        let url = compatible::join(queue.unwrap_or(target.base_url), &path);
        Ok(EncodedBody::own(translated).to(url, ask).answered_by(images::ANSWER))
    }

    fn authorise(&self, outgoing: &mut Outgoing, signer: &Signer<'_>) -> Result<(), Box<Fault>> {
        auth::bearer::sign_as(SCHEME, outgoing, signer.secret)
    }

    fn queueing(&self) -> Option<&dyn Queueing> {
        Some(self)
    }

    fn leading(&self) -> Option<&dyn Leading> {
        Some(self)
    }

    fn facts(&self) -> &'static ServerFacts {
        const FACTS: ServerFacts =
            ServerFacts { units_header: Some(UNITS), id_header: Some(REQUEST_ID), ..ServerFacts::USUAL };
        &FACTS
    }

    /// The list of apps needs no key, so it would not check one. A price does, and is free.
    fn list_models(&self, base_url: &str, _hosting: &Hosting) -> Outgoing {
        let platform = base_url.replacen(HOST, PLATFORM, 1);
        let mut outgoing = compatible::list_models(&platform);
        outgoing.url = compatible::join(&platform, "v1/models/pricing?endpoint_id=");
        escape(PRICED.as_bytes(), UNRESERVED, &mut outgoing.url);
        outgoing
    }

    /// A price is not a list of models.
    fn read_models(&self, _body: &Bytes) -> Option<Vec<String>> {
        None
    }

    fn classify(&self, status: u16, headers: &HeaderMap, body: &Bytes, provider: &str) -> Classified {
        class::classify(status, headers, body, provider)
    }
}

impl Leading for Fal {
    fn has_follow_up(&self, operation: Operation, stored: Option<&Stored>) -> bool {
        match operation {
            Operation::Speech => true,
            Operation::Video => stored.is_some_and(|stored| stored.act != StoredAct::Make),
            _ => false,
        }
    }

    fn follow_up(&self, leading: &IntermediateAnswer<'_>) -> Result<FollowUp, &'static str> {
        match leading.stored {
            Some(video) => videos::lead(leading, video),
            None => speech::lead(leading),
        }
    }
}

impl Queueing for Fal {
    fn address<'a>(&self, hosting: &'a Hosting) -> Option<&'a str> {
        hosting.queue_url.as_deref()
    }

    fn read_taken(&self, body: &Bytes) -> Option<Taken> {
        let Accepted { status_url, response_url, cancel_url } = serde_json::from_slice(body).ok()?;
        Some(Taken { look: status_url, fetch: response_url, cancel: cancel_url })
    }

    /// A failed request also counts as done: its result has the error.
    fn is_done(&self, body: &Bytes) -> Option<bool> {
        let status: Status = serde_json::from_slice(body).ok()?;
        match status.status.as_str() {
            "COMPLETED" => Some(true),
            "IN_QUEUE" | "IN_PROGRESS" => Some(false),
            _ => None,
        }
    }
}

/// The queue's answer to a request.
#[derive(Deserialize)]
struct Accepted {
    status_url: String,
    response_url: String,
    cancel_url: String,
}

#[derive(Deserialize)]
struct Status {
    status: String,
}

#[cfg(test)]
mod tests {
    use domain::Secret;
    use http::header::AUTHORIZATION;

    use super::*;

    #[test]
    fn it_is_verified_by_a_price() {
        let list_url = |base: &str| Fal.list_models(base, &domain::hosting::PLAIN).url;
        let price = "v1/models/pricing?endpoint_id=fal-ai%2Fflux-1%2Fschnell";
        assert_eq!(list_url("https://fal.run"), format!("https://api.fal.ai/{price}"));
        assert_eq!(list_url("http://127.0.0.1:1/fal"), format!("http://127.0.0.1:1/fal/{price}"));
    }

    #[test]
    fn the_scheme_is_its_own() {
        let mut outgoing = Fal.list_models("https://fal.run", &domain::hosting::PLAIN);
        let secret = Secret::from_text(" id:canary\n".to_owned());
        let signer = Signer { secret: &secret, hosting: &domain::hosting::PLAIN, unix_s: 0 };
        Fal.authorise(&mut outgoing, &signer).unwrap();
        let value = &outgoing.headers.iter().find(|(name, _)| *name == AUTHORIZATION).unwrap().1;
        assert_eq!(value.as_bytes(), b"Key id:canary");
        assert!(value.is_sensitive());
    }
}
