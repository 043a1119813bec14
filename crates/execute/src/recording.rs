//! Buffers a form for a provider that does not take it as it comes, up to a maximum size.

use std::future::poll_fn;

use bytes::{Bytes, BytesMut};
use domain::limits::RECORDING_BYTES_MAX;
use domain::{Fault, FaultClass};
use tokio::time::timeout;

use crate::exchange::Exchange;
use crate::failure::AttemptFailure;

/// Waits for the whole form, for a provider whose own format contains the recording.
pub(crate) async fn gather(exchange: &Exchange, body: &mut Bytes) -> Result<(), Box<Fault>> {
    gather_form(exchange, body, (RECORDING_BYTES_MAX, too_long)).await
}

/// Waits for the whole form, of at most so many bytes, and says what a longer one is.
pub(crate) async fn gather_form(
    exchange: &Exchange,
    body: &mut Bytes,
    most: (usize, fn() -> Box<Fault>),
) -> Result<(), Box<Fault>> {
    timeout(exchange.time_left(), read_to_end(exchange, body, most))
        .await
        .map_err(|_| AttemptFailure::deadline().fault)?
}

async fn read_to_end(
    exchange: &Exchange,
    body: &mut Bytes,
    (bytes_max, too_long): (usize, fn() -> Box<Fault>),
) -> Result<(), Box<Fault>> {
    let held = body.len();
    let left = exchange.call.upload().and_then(domain::Upload::left).unwrap_or(0);
    let announced = usize::try_from(left).unwrap_or(usize::MAX).saturating_add(held);
    if announced > bytes_max {
        return Err(too_long());
    }
    let Some(upload) = exchange.call.upload() else { return Ok(()) };
    let mut whole = BytesMut::from(&body[..]);
    while let Some(piece) = poll_fn(|cx| upload.poll_piece(cx)).await {
        let piece = piece.map_err(|_| upload.fault().unwrap_or_else(|| Box::new(Fault::internal())))?;
        if whole.len() + piece.len() > bytes_max {
            return Err(too_long());
        }
        whole.extend_from_slice(&piece);
    }
    *body = whole.freeze();
    Ok(())
}

fn too_long() -> Box<Fault> {
    let message = format!(
        "This app is sent a recording whole, and takes none in a form of more than {RECORDING_BYTES_MAX} bytes."
    );
    let fault = Fault::new(FaultClass::TooLarge, "request_too_large", message);
    Box::new(fault.fix("Send a shorter one, or one that is compressed more.").param("file"))
}
