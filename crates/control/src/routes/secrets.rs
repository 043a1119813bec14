//! What credentials, accounts and nodes share: reading a secret, sealing it, and checking an address.

use catalogue::SecretForm;
use domain::{Fault, FaultClass, Secret, WorkspaceId};
use egress::Reach;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use store::SealedSecret;

use crate::Control;
use crate::failure::{invalid, missing};

/// Another secret for an object that has one.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    #[schemars(with = "String", extend("type" = ["string", "object"], "writeOnly" = true))]
    pub secret: Option<Value>,
}

const SECRET_BYTES_MAX: usize = 16 * 1024;

/// A secret as it was sent, of the form that its kind has.
pub fn read(value: Option<Value>, form: SecretForm) -> Result<Secret, Box<Fault>> {
    match (form, value) {
        (SecretForm::Text, value) => read_text(value),
        (SecretForm::Json, Some(value)) => read_json(value),
        (SecretForm::Json, None) => {
            Err(missing("secret", "Send the JSON of this kind; it is sealed on arrival and never shown."))
        }
        // What has no secret is sealed all the same, so that its row is as any other.
        (SecretForm::None, None | Some(Value::Null)) => Ok(Secret::new(Vec::new())),
        (SecretForm::None, Some(_)) => {
            let message = "This kind has no secret: the machine's own identity speaks.";
            Err(invalid("secret", message, "Leave the secret out."))
        }
    }
}

/// The object itself, or the text of the file that it stands in.
fn read_json(value: Value) -> Result<Secret, Box<Fault>> {
    let object = match &value {
        Value::Object(_) => Some(value),
        Value::String(text) => serde_json::from_str(text).ok().filter(Value::is_object),
        _ => None,
    };
    let secret = object.and_then(|object| serde_json::to_vec(&object).ok()).map(Secret::new);
    secret.filter(|secret| secret.expose().len() <= SECRET_BYTES_MAX).ok_or_else(|| {
        let message = format!("The secret is no JSON object of at most {SECRET_BYTES_MAX} bytes.");
        invalid("secret", message, "Send the JSON as the cloud handed it out, whole.")
    })
}

/// Text without a line break or other control character.
fn read_text(value: Option<Value>) -> Result<Secret, Box<Fault>> {
    let text = match value {
        Some(Value::String(text)) => text,
        Some(_) => {
            return Err(invalid(
                "secret",
                "The secret of an api_key is text.",
                "Send the key itself as a JSON string.",
            ));
        }
        None => {
            return Err(missing(
                "secret",
                "Send the provider's key; it is sealed on arrival and never shown.",
            ));
        }
    };
    let secret = Secret::from_text(text);
    let fine = secret.expose_text().is_some_and(|text| {
        !text.is_empty() && text.len() <= SECRET_BYTES_MAX && text.bytes().all(|b| b.is_ascii_graphic())
    });
    if fine {
        Ok(secret)
    } else {
        Err(invalid(
            "secret",
            "The secret is empty, too long, or holds characters that no provider's key has.",
            "Send the key alone, without spaces or line breaks.",
        ))
    }
}

/// Seals a secret as the given version of an object.
pub fn seal(
    control: &Control,
    workspace: WorkspaceId,
    object: &str,
    version: u32,
    secret: &Secret,
) -> Result<SealedSecret, Box<Fault>> {
    let resealed = control.vault.sealer.seal(workspace, object, version, secret).map_err(|error| {
        tracing::error!(%error, object, "a secret could not be sealed");
        Box::new(Fault::internal())
    })?;
    Ok(SealedSecret {
        sealed: resealed.sealed,
        floor: resealed.floor,
        fingerprint: format!("tfp_{}", resealed.fingerprint),
    })
}

/// An address that we may send to, without its trailing slash.
pub fn base_url(control: &Control, url: Option<String>, reach: Reach) -> Result<Option<String>, Box<Fault>> {
    let Some(url) = url else { return Ok(None) };
    let trimmed = url.trim().trim_end_matches('/').to_owned();
    egress::check_base_url(&trimmed, &control.egress, reach)?;
    Ok(Some(trimmed))
}

/// A changed address takes the secret anew: a key must not follow an address that its owner's colleague typed in.
pub fn address_needs_secret() -> Box<Fault> {
    Box::new(
        Fault::new(
            FaultClass::Conflict,
            "base_url_needs_secret",
            "base_url changes where the secret is sent, so the secret must be given again.",
        )
        .param("secret")
        .fix("Send base_url and secret together."),
    )
}
