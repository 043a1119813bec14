//! Together: the common grammar; its model list is a bare array.

use bytes::Bytes;
use dialects::chat::ChatRequest;
use domain::{Fault, Secret};
use http::HeaderMap;

use crate::{Classified, Outgoing, Provider, Target, auth, classify, compatible};

pub(crate) struct TogetherAi;

impl Provider for TogetherAi {
    fn chat(&self, target: &Target<'_>, request: &ChatRequest, body: &Bytes) -> Result<Outgoing, Box<Fault>> {
        Ok(compatible::chat(target, request, body))
    }

    fn authorise(&self, outgoing: &mut Outgoing, secret: &Secret) -> Result<(), Box<Fault>> {
        auth::bearer::sign(outgoing, secret)
    }

    fn list_models(&self, base_url: &str) -> Outgoing {
        compatible::list_models(base_url)
    }

    fn read_models(&self, body: &Bytes) -> Option<Vec<String>> {
        compatible::read_models(body)
    }

    fn classify(&self, status: u16, headers: &HeaderMap, body: &Bytes, provider: &str) -> Classified {
        classify::classify(status, headers, body, provider)
    }
}
