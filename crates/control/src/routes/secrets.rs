//! Secrets of credentials, accounts and nodes: reading, sealing and rotating them, and validating the address
//! they are sent to.

use std::sync::Arc;

use api::failure::{invalid, missing};
use api::request::ApiRequest;
use api::router::Handled;
use api::state::Control;
use catalogue::SecretForm;
use domain::{Fault, FaultClass, Secret, WorkspaceId};
use egress::TargetKind;
use reconcilers::of_store;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use store::{AccountRow, CredentialRow, ResourceRow, SealedSecret};

use crate::hosting;
use crate::hosting::Destination;
use crate::limits::SECRET_BYTES_MAX;
use crate::resource::{Resource, load, reply_written};

/// A new secret for an object that has one.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    #[schemars(with = "String", extend("type" = ["string", "object"], "writeOnly" = true))]
    pub secret: Option<Value>,
}

/// A secret as sent, validated for the format of its auth kind.
pub fn read(value: Option<Value>, form: SecretForm) -> Result<Secret, Box<Fault>> {
    match (form, value) {
        (SecretForm::Text, value) => read_text(value),
        (SecretForm::Json, Some(value)) => read_json(value),
        (SecretForm::Json, None) => {
            Err(missing("secret", "Send the JSON of this kind; it is sealed on arrival and never shown."))
        }
        // A kind without a secret seals an empty one, so that its row looks like any other.
        (SecretForm::None, None | Some(Value::Null)) => Ok(Secret::new(Vec::new())),
        (SecretForm::None, Some(_)) => {
            let message = "This kind has no secret: the machine's own identity authenticates.";
            Err(invalid("secret", message, "Leave the secret out."))
        }
    }
}

/// The JSON object itself, or the text of the file that contains it.
fn read_json(value: Value) -> Result<Secret, Box<Fault>> {
    let object = match &value {
        Value::Object(_) => Some(value),
        Value::String(text) => serde_json::from_str(text).ok().filter(Value::is_object),
        _ => None,
    };
    let secret = object.and_then(|object| serde_json::to_vec(&object).ok()).map(Secret::new);
    secret.filter(|secret| secret.expose().len() <= SECRET_BYTES_MAX).ok_or_else(|| {
        let message = format!("The secret isn't a JSON object of at most {SECRET_BYTES_MAX} bytes.");
        invalid("secret", message, "Send the whole JSON exactly as the cloud issued it.")
    })
}

/// Text without a line break or other control character.
pub fn read_text(value: Option<Value>) -> Result<Secret, Box<Fault>> {
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
    let resealed = control.deps.vault.sealer.seal(workspace, object, version, secret).map_err(|error| {
        tracing::error!(%error, object, "a secret could not be sealed");
        Box::new(Fault::internal())
    })?;
    Ok(SealedSecret {
        sealed: resealed.sealed,
        floor: resealed.floor,
        fingerprint: format!("tfp_{}", resealed.fingerprint),
    })
}

/// An object whose secret is to be replaced.
pub struct SecretOwner<'a> {
    pub workspace: WorkspaceId,
    pub object: String,
    pub version: u32,
    pub provider: &'a str,
    pub auth: &'a str,
}

/// A resource whose rows each have a secret of a provider's.
pub trait HoldsSecret: Resource + ResourceRow<Change = (Self, Option<SealedSecret>)> {
    fn secret_owner(&self) -> SecretOwner<'_>;
}

impl HoldsSecret for CredentialRow {
    fn secret_owner(&self) -> SecretOwner<'_> {
        let (object, version) = (self.id.to_string(), self.secret.sealed.version);
        let workspace = self.workspace;
        SecretOwner { workspace, object, version, provider: &self.provider, auth: &self.auth }
    }
}

impl HoldsSecret for AccountRow {
    /// Operator accounts belong to no workspace.
    fn secret_owner(&self) -> SecretOwner<'_> {
        let (object, version) = (self.id.to_string(), self.secret.sealed.version);
        let workspace = vault::OPERATOR;
        SecretOwner { workspace, object, version, provider: &self.provider, auth: &self.auth }
    }
}

/// Gives a row another secret. Without `If-Match`, it must be the row that the secret was sealed for.
pub fn rotate<R: HoldsSecret>(control: &Arc<Control>, request: ApiRequest) -> Handled<'_> {
    Box::pin(async move {
        let rotation: Rotation = request.json()?;
        let row: R = load(control, &request).await?;
        let secret = row.secret_owner().next_secret(control, rotation.secret)?;
        let act = request.act(&control.deps.world);
        let expected = request.if_match()?.or(Some(row.version()));
        let replaced = R::table(control).replace((row, Some(secret)), expected, act).await;
        reply_written(control, replaced.map_err(of_store)?).await
    })
}

impl SecretOwner<'_> {
    /// The next secret of the same auth kind.
    fn next_secret(&self, control: &Control, given: Option<Value>) -> Result<SealedSecret, Box<Fault>> {
        let (_, form) = hosting::secret_of(control, self.provider, Some(self.auth));
        self.seal_next(control, form, given)
    }

    /// The effect of a write that may change the auth kind.
    pub fn renew(
        &self,
        control: &Control,
        auth: Option<&str>,
        given: Option<Value>,
    ) -> Result<Renewal, Box<Fault>> {
        let (kind, form) = hosting::secret_of(control, self.provider, auth);
        let is_of_other_kind = kind.as_str() != self.auth;
        // A kind without a secret must not keep the old one.
        let is_emptied = is_of_other_kind && form == SecretForm::None;
        let secret = match given {
            None if !is_emptied => None,
            given => Some(self.seal_next(control, form, given)?),
        };
        Ok(Renewal { secret, is_of_other_kind })
    }

    fn seal_next(
        &self,
        control: &Control,
        form: SecretForm,
        given: Option<Value>,
    ) -> Result<SealedSecret, Box<Fault>> {
        let plain = read(given, form)?;
        seal(control, self.workspace, &self.object, self.version.saturating_add(1), &plain)
    }
}

/// The secret that a write brings, if any.
pub struct Renewal {
    pub secret: Option<SealedSecret>,
    is_of_other_kind: bool,
}

impl Renewal {
    /// Whether the secret will be sent to another destination. Then, as after a change of the auth kind, the
    /// secret must be sent again: it must not follow an address that a colleague of its owner typed in.
    pub fn check(&self, before: &Destination, after: &Destination) -> Result<bool, Box<Fault>> {
        let moves = before != after || self.is_of_other_kind;
        if moves && self.secret.is_none() { Err(address_needs_secret()) } else { Ok(moves) }
    }
}

/// An allowed destination, without its trailing slash.
pub fn base_url(
    control: &Control,
    url: Option<String>,
    reach: TargetKind,
) -> Result<Option<String>, Box<Fault>> {
    let Some(url) = url else { return Ok(None) };
    let trimmed = url.trim().trim_end_matches('/').to_owned();
    egress::check_base_url(&trimmed, &control.web.egress, reach)?;
    Ok(Some(trimmed))
}

/// The refusal of a changed address without a new secret.
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
