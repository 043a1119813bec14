//! Buffers a form for a provider that does not take it as it comes, up to a maximum size.

use bytes::Bytes;
use decode::whole_form;
use domain::limits::RECORDING_BYTES_MAX;
use domain::{Fault, FaultClass};
use tokio::time::timeout;

use crate::exchange::Exchange;
use crate::failure::AttemptFailure;

/// The most bytes of a form, and the fault of a longer one.
pub(crate) type Most = (usize, fn() -> Box<Fault>);

/// For a provider whose own format contains the recording.
pub(crate) const MOST: Most = (RECORDING_BYTES_MAX, too_long);

/// Waits for the whole form.
pub(crate) async fn gather(exchange: &Exchange, body: &mut Bytes, most: Most) -> Result<(), Box<Fault>> {
    let whole = whole_form(exchange.call.upload(), body.clone(), most);
    let whole = timeout(exchange.time_left(), whole).await;
    *body = whole.map_err(|_| AttemptFailure::deadline().fault)??;
    Ok(())
}

fn too_long() -> Box<Fault> {
    let message = format!(
        "This app needs the whole recording at once: the form can have at most {RECORDING_BYTES_MAX} bytes."
    );
    let fault = Fault::new(FaultClass::TooLarge, "request_too_large", message);
    Box::new(fault.fix("Send a shorter recording, or compress it more.").param("file"))
}
