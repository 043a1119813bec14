//! Veo videos: started with `predictLongRunning` and polled by the operation's name. There are no other
//! requests: the video is part of the finished operation.

use bytes::Bytes;
use conversation::request::Stored;
use domain::{Fault, Operation};
use operations::video::{RequestedVideo, VideoRequest, request_document};

use super::maker::{Vendor, has_resolution};
use super::veo::{self, LITERALS, OperationAnswer, operation_of};
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
            let document = request_document(ask.request.form(), ask.body, &LITERALS)?;
            let request = VideoRequest::read(ask.grammar, &document, ask.is_lenient)?;
            let answer = OperationAnswer(request.requested(target.upstream_model));
            let translated = veo::write(request, has_resolution(name))?;
            let below = format!("publishers/google/models/{}:predictLongRunning", google::segment(name));
            let url = address(target.base_url, target.hosting, STABLE, &below);
            Ok(EncodedBody::own(translated).into_document(url, ask).answered_by(answer))
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
    let encoded = EncodedBody { body: vec![Bytes::from(body)], ..EncodedBody::empty(None) };
    let answer = OperationAnswer(RequestedVideo::Known { id: video.upstream_id().to_owned() });
    Ok(encoded.to(url, ask).answered_by(answer))
}
