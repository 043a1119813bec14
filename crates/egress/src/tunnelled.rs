//! One request through the tunnel of a node. Its head and what there is of its body are queued together, so that they leave in
//! one write.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use domain::upload::Upload;
use domain::{NodeId, WorkspaceId};
use h2::{Reason, RecvStream, SendStream};
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Version};
use http_body::{Frame, SizeHint};

use crate::body::{Answer, InBody, TunnelledBody};
use crate::error::{EgressError, EgressErrorKind, from_h2, is_untouched};
use crate::limits::{INTERIM_ANSWERS_MAX, TUNNEL_JOINED_BYTES_MAX};
use crate::message::{Headers, Request};
use crate::spares::{self, Exchanged};
use crate::tunnel::{HOST, TUNNEL_SPARE_HEADER, Tunnel, TunnelStream, Tunnels, wire_url};

/// The body of an answer, and what is still sent of its request.
struct TunnelBody {
    incoming: RecvStream,
    /// Bytes that are still to come, if the node said how many.
    left: Option<u64>,
    uploading: Option<Uploading>,
    _place: TunnelStream,
}

/// What a client is still uploading.
struct Uploading {
    stream: SendStream<Bytes>,
    rest: Upload,
}

/// Sends a request through a node's tunnel, over a spare connection of it if there is one. One that the newest did not take goes
/// through the one before.
pub(crate) async fn send(
    tunnels: &Tunnels,
    node: Option<NodeId>,
    owner: Option<WorkspaceId>,
    request: &Request,
) -> Result<Answer, EgressError> {
    let mut last = None;
    for tunnel in node.map(|node| tunnels.of(node, owner)).unwrap_or_default() {
        let Some(place) = tunnel.open_stream() else { continue };
        let place = match spares::exchange(&tunnel, place, request).await {
            Exchanged::Answered(answer) => return Ok(answer),
            Exchanged::Failed(error) => return Err(error),
            Exchanged::NotSent(place) => place,
        };
        match exchange(&tunnel, place, request).await {
            Ok(answer) => return Ok(answer),
            Err(error) if error.request_sent => return Err(error),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| {
        let text = "The node has no tunnel to this gateway, or all its streams are in use. Its log says why it can't open one.";
        EgressError::new(EgressErrorKind::Connect, text)
    }))
}

async fn exchange(tunnel: &Tunnel, place: TunnelStream, request: &Request) -> Result<Answer, EgressError> {
    let rest = request.body.rest();
    let segments = joined(request);
    let is_bodiless = segments.is_empty() && rest.is_none();
    let mut head = head(request);
    if tunnel.is_here() {
        head.headers_mut().insert(TUNNEL_SPARE_HEADER, HeaderValue::from_static("1"));
    }
    let queued = tunnel.sender().send_request(head, is_bodiless);
    let (mut answer, mut stream) = queued.map_err(|error| from_h2(&error, HOST))?;
    let last = segments.len().saturating_sub(1);
    for (at, segment) in segments.into_iter().enumerate() {
        let is_end = at == last && rest.is_none();
        stream.send_data(segment, is_end).map_err(|error| from_h2(&error, HOST).sent())?;
    }
    let mut uploading = rest.map(|rest| Uploading { stream, rest: rest.clone() });
    let mut interim = 0;
    let answered = std::future::poll_fn(|cx| {
        Uploading::poll(&mut uploading, cx)?;
        while let Poll::Ready(Some(Ok(_))) = answer.poll_informational(cx) {
            interim += 1;
            if interim > INTERIM_ANSWERS_MAX {
                let text = format!("{HOST} sent more than {INTERIM_ANSWERS_MAX} interim answers.");
                return Poll::Ready(Err(EgressError::new(EgressErrorKind::Protocol, text).sent()));
            }
        }
        Pin::new(&mut answer).poll(cx).map_err(|error| {
            let failed = from_h2(&error, HOST);
            if is_untouched(&error) { failed } else { failed.sent() }
        })
    });
    // A client's body can't be sent a second time.
    let answered = answered.await.map_err(|error| match rest {
        Some(rest) if rest.taken() > 0 => error.sent(),
        _ => error,
    });
    let (parts, incoming) = answered?.into_parts();
    let length = parts.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let body = TunnelBody { incoming, left: length, uploading, _place: place };
    let (status, headers) = (parts.status, Headers::from(&parts.headers));
    Ok(Answer { status, headers, body: InBody::tunnelled(body) })
}

fn head(request: &Request) -> http::Request<()> {
    let mut head = http::Request::new(());
    *head.method_mut() = request.method.clone();
    *head.version_mut() = Version::HTTP_2;
    *head.uri_mut() = wire_url(request.url.path_and_query().map_or("/", |path| path.as_str()));
    head.headers_mut().extend(request.own_headers().cloned());
    let length = request.body.length().filter(|length| *length > 0 || request.body.rest().is_some());
    if let Some(length) = length {
        head.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    head
}

/// The segments of the body, of which a few small ones are one: each is a frame, and most frames are a write.
fn joined(request: &Request) -> Vec<Bytes> {
    let (segments, length) = request.body.parts();
    let segments = segments.iter().filter(|segment| !segment.is_empty());
    if length > TUNNEL_JOINED_BYTES_MAX || segments.clone().count() < 2 {
        return segments.cloned().collect();
    }
    let mut all = BytesMut::with_capacity(usize::try_from(length).unwrap_or_default());
    for segment in segments {
        all.extend_from_slice(segment);
    }
    vec![all.freeze()]
}

impl Uploading {
    /// Sends what the client uploads, as fast as the node takes it. Pending while there is more, or nothing to do.
    fn poll(uploading: &mut Option<Self>, cx: &mut Context<'_>) -> Result<(), EgressError> {
        let Some(this) = uploading else { return Ok(()) };
        match this.poll_pieces(cx) {
            Poll::Pending => return Ok(()),
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(broke)) => {
                this.stream.send_reset(Reason::CANCEL);
                return Err(broke);
            }
        }
        *uploading = None;
        Ok(())
    }

    /// Ready once all is sent, or the node wants no more of it.
    fn poll_pieces(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), EgressError>> {
        loop {
            self.stream.reserve_capacity(1);
            while self.stream.capacity() == 0 {
                // Whoever wants no more answers, or has the stream reset: the answer says which.
                if !matches!(ready!(self.stream.poll_capacity(cx)), Some(Ok(_))) {
                    return Poll::Ready(Ok(()));
                }
            }
            let (piece, is_end) = match ready!(self.rest.poll_piece(cx)) {
                Some(Ok(piece)) => (piece, false),
                None => (Bytes::new(), true),
                Some(Err(_)) => {
                    let text = "The body broke off that the node's tunnel was being sent.";
                    return Poll::Ready(Err(EgressError::new(EgressErrorKind::Body, text).sent()));
                }
            };
            if self.stream.send_data(piece, is_end).is_err() || is_end {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl TunnelledBody for TunnelBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, EgressError>>> {
        if let Err(broke) = Uploading::poll(&mut self.uploading, cx) {
            return Poll::Ready(Some(Err(broke)));
        }
        Poll::Ready(match ready!(self.incoming.poll_data(cx)) {
            Some(Ok(bytes)) => {
                // It fails where the node has reset the stream, which the next read says.
                let _ = self.incoming.flow_control().release_capacity(bytes.len());
                self.left = self.left.map(|left| left.saturating_sub(bytes.len() as u64));
                Some(Ok(Frame::data(bytes)))
            }
            // All is said; the node wants no more of the request.
            Some(Err(error)) if error.reason() == Some(Reason::NO_ERROR) => None,
            Some(Err(error)) => Some(Err(from_h2(&error, HOST).sent())),
            None => None,
        })
    }

    fn is_over(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let left = if self.is_over() { Some(0) } else { self.left };
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
