//! Fits the parameters of a request that names an alias to its release, before the policies of the project, which may tighten
//! what it sets. Free where no alias of the workspace has rules for parameters.

use admit::Caller;
use decode::{Inbound, decode};
use domain::{Fault, FaultClass};
use guardrails::{ParameterChange, ParameterPlace, Parameters, RefusedValue, fit_parameters};

/// What a release did to a request.
#[derive(Debug, Default)]
pub(crate) struct Fitted {
    pub changes: Vec<ParameterChange>,
    pub fault: Option<Box<Fault>>,
}

/// Fits a request to the release that its alias means. One that can't be read is left as it is, for the decoder to refuse.
pub(crate) fn fit(inbound: &mut Inbound, caller: &Caller, now_us: u64) -> Fitted {
    let is_conversation = inbound.form.is_none() && decode::facts(inbound.operation).is_conversation;
    if !is_conversation || !caller.workspace().aliases.iter().any(|alias| alias.fits_parameters) {
        return Fitted::default();
    }
    let Ok(call) = decode(inbound.with_body(inbound.body.clone()), now_us) else { return Fitted::default() };
    let Some((alias, release)) = plan::release_of(&call, caller) else { return Fitted::default() };
    if release.spec.parameters.is_empty() {
        return Fitted::default();
    }
    let wanted = Parameters { rules: &release.spec.parameters, output_tokens: None, stores_nothing: false };
    let written = fit_parameters(&inbound.body, place(inbound), wanted);
    if let Some(refused) = written.refused {
        let fault = refusal(&alias.name, &release.id.to_string(), &refused);
        return Fitted { changes: Vec::new(), fault: Some(fault) };
    }
    if let Some(body) = written.body {
        inbound.body = body;
    }
    Fitted { changes: written.changes, fault: None }
}

/// Where the request's wire format has its parameters.
pub(crate) fn place(inbound: &Inbound) -> ParameterPlace {
    let members = dialects::face(inbound.dialect.grammar()).facts().parameters;
    ParameterPlace {
        container: members.container,
        output_tokens: members.output_tokens,
        store: members.store,
    }
}

fn refusal(alias: &str, release: &str, refused: &RefusedValue) -> Box<Fault> {
    let RefusedValue { field, value, allowed, .. } = refused;
    let message = format!(
        "The alias {alias} (release {release}) allows {allowed} for \"{field}\", and the request says {value}."
    );
    let fault = Fault::new(FaultClass::BadRequest, "invalid_value", message).param(field.clone());
    Box::new(fault.fix("Change the value, leave it out, or name a model in place of the alias."))
}
