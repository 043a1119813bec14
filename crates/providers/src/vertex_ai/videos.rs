//! Veo videos: started with `predictLongRunning` and polled by the operation's name. There are no other
//! requests: the video is part of the finished operation.

use bytes::Bytes;
use conversation::request::Stored;
use dialects::{operation_of, write_veo};
use domain::{Fault, Grammar, Operation};

use super::maker::{Vendor, has_resolution};
use super::{STABLE, address, bare};
use crate::auth::google;
use crate::compatible::{self, EncodedBody};
use crate::{ModelRequest, Outgoing, Target};

/// Separates a model's path from the id of one of its operations.
const OPERATIONS: &str = "/operations/";

pub(super) fn generate(
    target: &Target<'_>,
    ask: &ModelRequest<'_>,
    (maker, name): (Vendor, &str),
) -> Result<Outgoing, Box<Fault>> {
    match ask.request.stored.as_deref() {
        Some(video) => look(target, ask, video),
        None if maker != Vendor::Veo => Err(compatible::unsupported_operation(Operation::Video)),
        None => {
            let translated = write_veo(
                ask.grammar,
                ask.request.form.as_deref(),
                ask.body,
                ask.is_lenient,
                has_resolution(name),
            )?;
            let encoded = EncodedBody {
                grammar: Grammar::Hosted,
                body: vec![translated.body],
                dropped: translated.dropped,
            };
            let below = format!("publishers/google/models/{}:predictLongRunning", google::segment(name));
            Ok(encoded.into_document(address(target.base_url, target.hosting, STABLE, &below), ask))
        }
    }
}

/// Polls a video's operation. Its name contains the path to poll at.
fn look(target: &Target<'_>, ask: &ModelRequest<'_>, video: &Stored) -> Result<Outgoing, Box<Fault>> {
    compatible::require_plain_video(video)?;
    let operation = operation_of(video.upstream_id()).ok_or_else(compatible::video_not_found)?;
    let resource = operation.split_once(OPERATIONS).map_or(&*operation, |(resource, _)| resource);
    let resource: Vec<String> = resource.split('/').map(google::segment).collect();
    let url = format!("{}/{STABLE}/{}:fetchPredictOperation", bare(target.base_url), resource.join("/"));
    let body = serde_json::json!({"operationName": operation}).to_string();
    let encoded =
        EncodedBody { grammar: Grammar::Hosted, body: vec![Bytes::from(body)], dropped: Vec::new() };
    Ok(encoded.to(url, ask))
}
