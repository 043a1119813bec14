//! Content is sealed with the workspace's key before it is stored, and opened for whoever may read it.

use api::auditing::record_act;
use api::failure::{content_unreadable, invalid};
use api::request::ApiRequest;
use api::state::Control;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::{Fault, FaultClass, ObjectOwner, ProjectId};
use proof::Digest;
use reconcilers::of_store;
use serde_json::Value;
use sessions::{open_state, seal_state};
use transcripts::{EventContent, SealedContent};

/// The content of one thing, sealed under its id, with what is told of it.
pub(crate) fn seal(
    control: &Control,
    request: &ApiRequest,
    project: ProjectId,
    id: &[u8],
    content: &[u8],
) -> Result<(EventContent, SealedContent), Box<Fault>> {
    let owner = ObjectOwner { workspace: request.workspace(), project };
    seal_state(&control.deps.vault, (owner, request.trace), id, content).map_err(|error| {
        tracing::error!(workspace = %owner.workspace, %error, "content could not be sealed");
        Box::new(Fault::internal())
    })
}

/// The content that is stored under a hash; `None` where it was deleted.
pub(crate) async fn open(
    control: &Control,
    request: &ApiRequest,
    digest: [u8; 32],
) -> Result<Option<Vec<u8>>, Box<Fault>> {
    let workspace = request.workspace();
    let found = control.deps.store.artifacts().content(workspace, digest).await.map_err(of_store)?;
    let Some(content) = found else { return Ok(None) };
    open_state(&control.deps.vault, workspace, &content).map(Some).map_err(|_| content_unreadable())
}

/// Content that is sent as text, as JSON, or in base64.
pub(crate) fn read(
    text: Option<&Value>,
    base64: Option<&str>,
    bytes_max: usize,
) -> Result<Option<Vec<u8>>, Box<Fault>> {
    let content = match (text, base64) {
        (Some(_), Some(_)) => {
            let message = "\"content\" and \"content_base64\" are both set.";
            return Err(invalid("content_base64", message, "Send one of them."));
        }
        (None, None) => return Ok(None),
        (Some(Value::String(text)), None) => text.clone().into_bytes(),
        (Some(value), None) => value.to_string().into_bytes(),
        (None, Some(text)) => STANDARD.decode(text).map_err(|_| {
            invalid(
                "content_base64",
                "\"content_base64\" is not base64.",
                "Encode it with padding (RFC 4648, section 4).",
            )
        })?,
    };
    if content.len() > bytes_max {
        let message = format!("The content has {} bytes; at most {bytes_max} can be stored.", content.len());
        let fault = Fault::new(FaultClass::TooLarge, "content_too_large", message).param("content");
        return Err(Box::new(fault.fix("Split it, or store it elsewhere and refer to it.")));
    }
    Ok(Some(content))
}

/// Content as it is shown: as text where it is text, else in base64.
pub(crate) fn show(content: Vec<u8>) -> (Option<String>, Option<String>) {
    match String::from_utf8(content) {
        Ok(text) => (Some(text), None),
        Err(error) => (None, Some(STANDARD.encode(error.as_bytes()))),
    }
}

/// A hash as it is shown.
pub(crate) fn hex(hash: &[u8; 32]) -> String {
    Digest(*hash).to_string()
}

/// Records that a person opened content. What agents read of their own is not recorded.
pub(crate) async fn audit_opening(
    control: &Control,
    request: &ApiRequest,
    action: &'static str,
    object: &str,
    detail: &str,
) -> Result<(), Box<Fault>> {
    if request.caller.person().is_none() {
        return Ok(());
    }
    record_act(control, request, action, object, detail).await
}
