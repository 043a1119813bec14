//! Amazon Bedrock: AWS signatures, the Converse API with binary streams, the model list, and the roles and
//! instance metadata that issue temporary credentials. An access key's secret is one of the emulator's keys.

mod additional;
mod answer;
mod documents;
mod embeddings;
pub(crate) mod error;
mod events;
mod fields;
mod invoked;
pub(crate) mod jobs;
pub(crate) mod mantle;
mod models;
pub(crate) mod service;
mod sign;
pub(crate) mod storage;
mod sts;
mod tools;
mod turns;

use http::request::Parts;
use hyper::body::Incoming;

use crate::emulator::service::{Answer, Call};

pub(crate) use fields::request_fields;
pub(crate) use sign::ahead;
pub(crate) use sts::{TOKEN_AUDIENCE, answer as answer_keys, lend, serves as serves_keys};

pub use jobs::{BATCH_ROLE, REQUESTS_MIN};
pub use sign::{REGION, SERVICE_SKEW, access_keys};
pub use storage::STORAGE;
pub use sts::{EXTERNAL_ID, ROLE};

pub(crate) fn serves(head: &Parts) -> bool {
    service::serves(head) || storage::serves(head)
}

pub(crate) async fn answer(call: &Call<'_>, body: Incoming) -> Answer {
    if storage::serves(call.head) {
        storage::answer(call, body).await
    } else {
        service::answer(call, body).await
    }
}

/// The base path of Bedrock, for both its runtime and its control plane.
pub const BASE: &str = "/bedrock";
/// The base path of AWS STS.
pub const STS: &str = "/sts";
