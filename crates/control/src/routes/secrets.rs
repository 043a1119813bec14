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
use line::VerifyReport;
use plan::Seat;
use reconcilers::{judgement, of_store};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use snapshot::{AccountEntry, CredentialEntry};
use store::{
    AccountRow, Act, CredentialRow, ResourceRow, SealedSecret, StoreFuture, Verification, Written,
    account_entry, credential_entry,
};

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
    /// `true` takes only a secret that the provider accepts, and `false` takes one without asking it. By default, only one that
    /// the provider refuses isn't taken. A secret that isn't taken changes nothing: the old one serves on.
    pub verify: Option<bool>,
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

    /// The seat that authenticates with this secret in place of the row's own.
    fn seat_with(&self, secret: &SealedSecret) -> Seat;

    fn record<'a>(
        &self,
        control: &'a Control,
        found: Verification,
        act: Act,
    ) -> StoreFuture<'a, Written<Self>>;
}

impl HoldsSecret for CredentialRow {
    fn secret_owner(&self) -> SecretOwner<'_> {
        let (object, version) = (self.id.to_string(), self.secret.sealed.version);
        let workspace = self.workspace;
        SecretOwner { workspace, object, version, provider: &self.provider, auth: &self.auth }
    }

    fn seat_with(&self, secret: &SealedSecret) -> Seat {
        let sealed = Arc::new(secret.sealed.clone());
        Seat::Byok(Arc::new(CredentialEntry { sealed, ..credential_entry(self.clone()) }))
    }

    fn record<'a>(
        &self,
        control: &'a Control,
        found: Verification,
        act: Act,
    ) -> StoreFuture<'a, Written<Self>> {
        control.deps.store.credentials().record_verification(self.workspace, self.id, found, act)
    }
}

impl HoldsSecret for AccountRow {
    /// Operator accounts belong to no workspace.
    fn secret_owner(&self) -> SecretOwner<'_> {
        let (object, version) = (self.id.to_string(), self.secret.sealed.version);
        let workspace = vault::OPERATOR;
        SecretOwner { workspace, object, version, provider: &self.provider, auth: &self.auth }
    }

    fn seat_with(&self, secret: &SealedSecret) -> Seat {
        let sealed = Arc::new(secret.sealed.clone());
        Seat::Managed(Arc::new(AccountEntry { sealed, ..account_entry(self.clone()) }))
    }

    fn record<'a>(
        &self,
        control: &'a Control,
        found: Verification,
        act: Act,
    ) -> StoreFuture<'a, Written<Self>> {
        control.deps.store.accounts().record_verification(self.id, found, act)
    }
}

/// The verification of one version of a secret, as a call with it ended.
pub fn finding(control: &Control, report: &VerifyReport, secret_version: u32) -> Verification {
    let (accepted, error) = judgement::of(report);
    Verification { secret_version, unix_ms: control.deps.world.clock.unix_ms(), accepted, error }
}

/// Calls the provider with a secret that is to replace the row's own.
///
/// # Errors
/// The provider refuses it or, where it `must` be accepted, doesn't accept it.
pub async fn try_out<R: HoldsSecret>(
    control: &Control,
    row: &R,
    secret: &SealedSecret,
    must: bool,
) -> Result<Verification, Box<Fault>> {
    let report = control.deps.verify(row.seat_with(secret)).await?;
    let mut found = finding(control, &report, secret.sealed.version);
    // Nothing can be opened after the rollback of a row: only its replacement repairs it.
    if report.fault.as_ref().is_some_and(|fault| fault.code == "credential_unreadable") {
        found.accepted = None;
    }
    if found.accepted == Some(true) || (found.accepted.is_none() && !must) {
        return Ok(found);
    }
    let provider = row.secret_owner().provider.to_owned();
    let what = match found.accepted {
        Some(_) => format!("{provider} refused the new secret"),
        None => "The new secret could not be verified".to_owned(),
    };
    let message = format!("{what}: {} The old secret still serves.", found.error.unwrap_or_default());
    let fix = "Send a secret that the provider accepts. `\"verify\": false` (`--no-verify`) replaces the old one without a check.";
    Err(Box::new(Fault::new(FaultClass::BadRequest, "secret_not_accepted", message).param("secret").fix(fix)))
}

/// Gives a row another secret, once its provider was asked about it. Without `If-Match`, it must be the row that the secret was
/// sealed for.
pub async fn rotate<R: HoldsSecret>(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let rotation: Rotation = request.json()?;
    let row: R = load(control, &request).await?;
    let secret = row.secret_owner().next_secret(control, rotation.secret)?;
    let found = match rotation.verify {
        Some(false) => None,
        _ if request.is_rehearsal => None,
        verify => Some(try_out(control, &row, &secret, verify.is_some()).await?),
    };
    let act = request.act(&control.deps.world);
    let expected = request.if_match()?.or(Some(row.version()));
    let replaced = R::table(control).replace((row, Some(secret)), expected, act).await.map_err(of_store)?;
    let Some(found) = found else { return reply_written(control, replaced).await };
    let recorded = replaced.row.record(control, found, Act::system(&control.deps.world)).await;
    reply_written(control, recorded.map_err(of_store)?).await
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
