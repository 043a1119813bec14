//! One request through the tunnel of a node.

use domain::{NodeId, WorkspaceId};

use crate::body::{Answer, InBody};
use crate::error::{EgressError, EgressErrorKind, from_hyper};
use crate::message::{Headers, Request};
use crate::tunnel::{Tunnels, wire_url};

/// Sends a request through a node's tunnel. One that the newest did not take goes through the one before.
pub(crate) async fn send(
    tunnels: &Tunnels,
    node: Option<NodeId>,
    owner: Option<WorkspaceId>,
    request: &Request,
) -> Result<Answer, EgressError> {
    let mut last = None;
    for tunnel in node.map(|node| tunnels.of(node, owner)).unwrap_or_default() {
        let Some(stream) = tunnel.open_stream() else { continue };
        let mut wire = request.to_shared();
        *wire.uri_mut() = wire_url(request.url.path_and_query().map_or("/", |path| path.as_str()));
        match tunnel.sender.clone().try_send_request(wire).await {
            Ok(answer) => {
                let (parts, body) = answer.into_parts();
                let (status, headers) = (parts.status, Headers::from(&parts.headers));
                return Ok(Answer { status, headers, body: InBody::tunnelled(body, stream) });
            }
            Err(mut failed) => {
                let is_untouched = failed.take_message().is_some();
                let error = from_hyper(failed.error(), !is_untouched, "The node's tunnel");
                if !is_untouched {
                    return Err(error);
                }
                last = Some(error);
            }
        }
    }
    Err(last.unwrap_or_else(|| {
        let text = "The node has no tunnel to this gateway, or all its streams are in use. Its log says why it can't open one.";
        EgressError::new(EgressErrorKind::Connect, text)
    }))
}
