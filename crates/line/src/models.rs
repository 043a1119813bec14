//! `/v1/models`: the models that the key may use, decided by the same planner that would serve a request.

use admit::Caller;
use conversation::models::ModelRow;
use dialects::{model_object, models_list};
use domain::{Dialect, Fault, FaultClass, Modality, Operation, PriceTerms, Refuser, TraceId};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use plan::{PlanQuery, RequestNeeds, RequestSize, ServedModel, served_models};
use relay::served_headers;
use settle::{ReplyBody, whole};
use time::Date;
use time::macros::format_description;

use crate::{Core, refuse};

/// Lists the chat models that the caller may use, or shows the one that `id` means in a request, in the client's dialect.
pub fn models(
    core: &Core,
    caller: &Caller,
    id: Option<&str>,
    dialect: Dialect,
    trace: TraceId,
) -> Response<ReplyBody> {
    let question = question(caller, id.unwrap_or_default(), Modality::Chat, dialect);
    let (snapshot, now_unix_ms) = (caller.snapshot(), core.now_unix_ms());
    let row = |model| row(caller, model);
    let body = match id {
        // They are already sorted by id.
        None => {
            let served = served_models(&question, snapshot, now_unix_ms);
            models_list(dialect, &served.into_iter().map(row).collect::<Vec<_>>())
        }
        Some(id) => match plan::named_model(&question, snapshot, now_unix_ms) {
            Ok(model) if model.is_known => model_object(dialect, &row(model)),
            Ok(_) | Err(_) => return refuse(core, dialect, &unknown(id), trace),
        },
    };
    let mut headers = served_headers(trace, None);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    core.counters.answered(200);
    whole(StatusCode::OK, headers, body)
}

/// The chat models that the caller may use, without a core: sorted by name.
pub fn chat_models(caller: &Caller, now_unix_ms: u64) -> Vec<ServedModel> {
    served_models(&question(caller, "", Modality::Chat, Dialect::Chat), caller.snapshot(), now_unix_ms)
}

/// The models of a modality that the caller may use, sorted by name. Those that only their node or server knows may be of any.
pub fn served_of(core: &Core, caller: &Caller, modality: Modality) -> Vec<ServedModel> {
    let question = question(caller, "", modality, Dialect::Run);
    served_models(&question, caller.snapshot(), core.now_unix_ms())
}

/// The model that a name means to the caller, whatever its modality.
///
/// # Errors
/// It means nothing here, or nothing would serve it.
pub fn named(core: &Core, caller: &Caller, name: &str) -> Result<ServedModel, Box<Fault>> {
    let question = question(caller, name, Modality::Chat, Dialect::Run);
    plan::named_model(&question, caller.snapshot(), core.now_unix_ms())
}

/// Whether its route names the seats that may serve it, so that another credential would not be asked.
pub fn is_routed_elsewhere(core: &Core, caller: &Caller, app: &str) -> bool {
    let refuser = named(core, caller, app).err().and_then(|fault| fault.refused_by);
    let Some(Refuser::Route(id)) = refuser.as_deref() else { return false };
    let route = caller.workspace().routes.iter().find(|route| route.id == *id);
    route.is_some_and(|route| route.spec.names_seats())
}

/// The modality of a name's model, whether or not anything here serves it.
pub fn modality_of(core: &Core, caller: &Caller, name: &str) -> Option<Modality> {
    let question = question(caller, name, Modality::Chat, Dialect::Run);
    plan::modality_of(&question, caller.snapshot(), core.now_unix_ms())
}

/// A model of the catalogue, whether or not anything here serves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SoldModel {
    pub modality: Modality,
    /// What it does, where models of its modality do different things.
    pub operation: Option<Operation>,
    /// The providers that sell it to customers with credentials of their own.
    pub sellers: Vec<String>,
}

/// The model of the catalogue that has this name, with its publisher or alone.
pub fn sold_model(caller: &Caller, name: &str) -> Option<SoldModel> {
    let catalogue = caller.snapshot().catalogue();
    let model = catalogue.model(name).or_else(|| match catalogue.by_bare_name(name).as_slice() {
        [model] => Some(*model),
        _ => None,
    })?;
    let sells = |slug: &&String| catalogue.provider(slug).is_some_and(|facts| facts.byok && facts.available);
    let sellers = model.offers.iter().map(|offer| &offer.provider).filter(sells).cloned().collect();
    Some(SoldModel { modality: model.modality, operation: model.operation, sellers })
}

fn question<'a>(caller: &'a Caller, model: &'a str, modality: Modality, dialect: Dialect) -> PlanQuery<'a> {
    PlanQuery {
        model,
        workspace: caller.workspace(),
        project: caller.project(),
        environment: caller.environment(),
        key: caller.key().map(|key| key.id),
        tag: None,
        split_key: 0,
        session_key: None,
        session_seat: None,
        modality,
        dialect,
        terms: PriceTerms::default(),
        size: RequestSize::default(),
        needs: RequestNeeds::default(),
        traits: None,
        prompt: None,
        hints: None,
    }
}

fn row(caller: &Caller, model: ServedModel) -> ModelRow {
    let created = known_since_unix_s(caller, &model).unwrap_or_default();
    ModelRow {
        id: model.id,
        display_name: model.display_name,
        owned_by: model.owned_by,
        created,
        modality: model.facts.modality,
        context_tokens: model.facts.context_tokens,
        output_tokens_max: model.facts.output_tokens_max,
        inputs: model.inputs,
        rates: model.rates,
    }
}

/// `created`, which programs sort by: sellers don't agree on a model's release date, so this is the time when
/// it became known here.
pub fn known_since_unix_s(caller: &Caller, model: &ServedModel) -> Option<u64> {
    let workspace = caller.workspace();
    if let Some(alias) = workspace.aliases.iter().find(|alias| *alias.name == *model.id) {
        return Some(alias.created_unix_ms / 1000);
    }
    if let Some(node) = workspace.nodes.iter().find(|node| node.models.contains(&model.id)) {
        return Some(node.created_unix_ms / 1000);
    }
    let catalogue = caller.snapshot().catalogue();
    if let Some(known) = catalogue.model(&model.name) {
        let checked = known.offers.iter().filter_map(|offer| midnight(&offer.origin.checked)).min();
        return checked.or_else(|| midnight(catalogue.revision()));
    }
    let credentials = workspace.credentials.iter();
    let mut own = credentials.filter(|credential| *credential.provider == *model.owned_by);
    own.next().map(|credential| credential.created_unix_ms / 1000)
}

/// The start of the day that a text begins with.
fn midnight(text: &str) -> Option<u64> {
    let day = Date::parse(text.get(..10)?, format_description!("[year]-[month]-[day]")).ok()?;
    u64::try_from(day.midnight().assume_utc().unix_timestamp()).ok()
}

fn unknown(id: &str) -> Fault {
    let clipped: String = id.chars().take(128).collect();
    let message = format!("There is no model \"{clipped}\" that this key may use.");
    Fault::new(FaultClass::NotFound, "model_not_found", message)
        .fix("Use the id of a model that GET /v1/models lists, or one of its other names (docs/api.md).")
        .param("model")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_its_midnight() {
        assert_eq!(midnight("2026-11-20"), Some(1_795_132_800));
        assert_eq!(midnight("2026-11-20+overlay"), Some(1_795_132_800));
        assert_eq!(midnight("2026-13-20"), None);
        assert_eq!(midnight("an overlay of mine"), None);
        assert_eq!(midnight(""), None);
    }
}
