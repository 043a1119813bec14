//! `/apps`: the apps that a key may run, with their schemas, in pages by cursor.

use std::collections::BTreeMap;

use admit::Caller;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use domain::limits::MODEL_NAME_BYTES_MAX;
use domain::{Dialect, Fault, FaultClass, Modality, TraceId};
use http::header::HeaderMap;
use http::{Method, Response, StatusCode};
use line::{Core, ModelFacts, ServedModel};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::{Value, json};
use settle::ReplyBody;

use super::own::{self, OwnApp, OwnListing};
use super::{App, kinds_of};
use crate::limits::{LIST_PAGE_ITEMS, LIST_PAGE_ITEMS_MAX};
use runbody::refusal;
use runs::moment;

use crate::task::Envelope;

/// The path of a list that its filters come to in a body.
const LIST: &str = "list";

/// A request about apps.
#[derive(Debug)]
pub struct AppRequest<'a> {
    pub method: &'a Method,
    /// The path below `/apps`; empty for the list.
    pub rest: &'a str,
    pub query: &'a str,
    pub headers: &'a HeaderMap,
    pub body: Bytes,
    pub trace: TraceId,
}

/// Lists the apps that the caller may run, or shows one.
pub async fn apps(core: &Core, caller: &Caller, request: &AppRequest<'_>) -> Response<ReplyBody> {
    match answer(core, caller, request).await {
        Ok(value) => {
            let body = Envelope::from_headers(request.headers).wrap(&value, &[]);
            core.counters.answered(200);
            let headers = line::own_headers(request.trace, "application/json");
            settle::whole(StatusCode::OK, headers, body.into())
        }
        Err(fault) => line::refuse(core, Dialect::Run, &fault, request.trace),
    }
}

async fn answer(core: &Core, caller: &Caller, request: &AppRequest<'_>) -> Result<Value, Box<Fault>> {
    match (request.method, request.rest) {
        (&Method::POST, LIST) => page(core, caller, &ListWish::of_body(&request.body)?).await,
        (&Method::POST, _) => Err(nothing_here(request.rest)),
        (_, "") => page(core, caller, &ListWish::of_query(request.query)?).await,
        (_, name) => {
            // Clients write the slash of `publisher/model` as %2F.
            let name = percent_decode_str(name).decode_utf8_lossy();
            let Ok(model) = line::named_model(core, caller, &name) else {
                let app = App::find(core, caller, &name);
                let own = OwnApp::find(core, caller, &app).await?;
                return own.map(|own| describe_own(&own.listing())).ok_or_else(|| unknown(&name));
            };
            describe(caller, &model).ok_or_else(|| unknown(&name))
        }
    }
}

/// What of the list a client wants.
#[derive(Debug, Default, PartialEq, Eq)]
struct ListWish {
    /// The name after which the page begins.
    after: Option<String>,
    limit: Option<usize>,
    category: Option<String>,
    /// A part of the name.
    term: Option<String>,
}

/// What clients of this API send; what they leave empty says nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ListBody {
    cursor: Option<String>,
    limit: Option<u64>,
    search: Option<SearchBody>,
    filters: Option<Vec<FilterBody>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SearchBody {
    term: Option<String>,
}

#[derive(Debug, Deserialize)]
struct FilterBody {
    field: String,
    value: Value,
}

impl ListWish {
    fn of_body(body: &[u8]) -> Result<Self, Box<Fault>> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        let body: Option<ListBody> = serde_json::from_slice(body).map_err(|error| {
            let message = format!("The body isn't a request for a list: {error}.");
            refusal("invalid_json", message, "Send {\"cursor\": …, \"limit\": …}, or nothing.", "cursor")
        })?;
        let ListBody { cursor, limit, search, filters } = body.unwrap_or_default();
        let mut wish = Self::of(cursor.as_deref(), limit)?;
        wish.term = search.and_then(|search| search.term).filter(|term| !term.is_empty());
        for filter in filters.unwrap_or_default() {
            wish.filter(&filter.field, filter.value.as_str().unwrap_or_default())?;
        }
        Ok(wish)
    }

    fn of_query(query: &str) -> Result<Self, Box<Fault>> {
        let pairs: Vec<(&str, String)> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name, percent_decode_str(value).decode_utf8_lossy().into_owned()))
            .collect();
        let value =
            |wanted: &str| pairs.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.as_str());
        let limit = value("limit").filter(|text| !text.is_empty()).map(str::parse::<u64>).transpose();
        let mut wish = Self::of(value("cursor"), limit.map_err(|_| wrong_limit())?)?;
        wish.term = value("search").filter(|term| !term.is_empty()).map(str::to_owned);
        if let Some(category) = value("category").filter(|word| !word.is_empty()) {
            wish.filter("category", category)?;
        }
        Ok(wish)
    }

    fn of(cursor: Option<&str>, limit: Option<u64>) -> Result<Self, Box<Fault>> {
        let after = cursor.filter(|cursor| !cursor.is_empty()).map(read_cursor).transpose()?;
        let limit = match limit {
            None | Some(0) => None,
            Some(limit) => Some(usize::try_from(limit).map_err(|_| wrong_limit())?),
        };
        if limit.is_some_and(|limit| limit > LIST_PAGE_ITEMS_MAX) {
            return Err(wrong_limit());
        }
        Ok(Self { after, limit, ..Self::default() })
    }

    /// A filter that is not known must not be passed over: its client would read more than it asked for.
    fn filter(&mut self, field: &str, value: &str) -> Result<(), Box<Fault>> {
        if field != "category" {
            let field: String = field.chars().filter(|letter| !letter.is_control()).take(64).collect();
            let message = format!("Apps can't be filtered by \"{field}\".");
            let fault = Fault::new(FaultClass::Unsupported, "unsupported_field", message).param("filters");
            return Err(Box::new(fault.fix("Filter by \"category\", or search a part of the name.")));
        }
        self.category = Some(value.to_owned());
        Ok(())
    }

    fn takes(&self, listed: &Listed) -> bool {
        let is_of_category = |word: &String| listed.has_category(word);
        let has_term = |term: &String| listed.name().to_lowercase().contains(&term.to_lowercase());
        listed.does_something()
            && self.category.as_ref().is_none_or(is_of_category)
            && self.term.as_ref().is_none_or(has_term)
    }
}

/// An app of a list.
enum Listed {
    Model(ServedModel),
    Own(OwnListing),
}

impl Listed {
    fn name(&self) -> &str {
        match self {
            Self::Model(model) => &model.id,
            Self::Own(own) => &own.name,
        }
    }

    fn has_category(&self, word: &str) -> bool {
        match self {
            Self::Model(model) => kinds_of(&model.facts).iter().any(|kind| kind.category() == word),
            Self::Own(own) => own.category == word,
        }
    }

    fn does_something(&self) -> bool {
        match self {
            Self::Model(model) => !kinds_of(&model.facts).is_empty(),
            Self::Own(_) => true,
        }
    }

    fn describe(&self, caller: &Caller) -> Option<Value> {
        match self {
            Self::Model(model) => describe(caller, model),
            Self::Own(own) => Some(describe_own(own)),
        }
    }
}

fn wrong_limit() -> Box<Fault> {
    let fix = format!("Send a number from 1 to {LIST_PAGE_ITEMS_MAX}, or leave it out.");
    refusal("invalid_value", "\"limit\" isn't a valid page size.", fix, "limit")
}

fn read_cursor(cursor: &str) -> Result<String, Box<Fault>> {
    let name = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    name.filter(|name| name.len() <= MODEL_NAME_BYTES_MAX).ok_or_else(|| {
        let fix = "Send the \"next_cursor\" of the previous page, or leave it out.";
        refusal("invalid_value", "\"cursor\" isn't a cursor of this list.", fix, "cursor")
    })
}

/// All of them by name. Those of which nobody knows what they do are served for every modality.
async fn served(core: &Core, caller: &Caller) -> Result<BTreeMap<String, Listed>, Box<Fault>> {
    let modalities = Modality::ALL.into_iter().filter(|modality| *modality != Modality::Realtime);
    let models = modalities.flat_map(|modality| line::served_of(core, caller, modality));
    let own = own::listed(core, caller).await?.into_iter().map(Listed::Own);
    // A model is found before an app of the same name.
    let all = own.chain(models.map(Listed::Model));
    Ok(all.map(|listed| (listed.name().to_owned(), listed)).collect())
}

async fn page(core: &Core, caller: &Caller, wish: &ListWish) -> Result<Value, Box<Fault>> {
    let all: Vec<Listed> =
        served(core, caller).await?.into_values().filter(|listed| wish.takes(listed)).collect();
    let total = all.len();
    let limit = wish.limit.unwrap_or(LIST_PAGE_ITEMS);
    let mut rest = all
        .into_iter()
        .skip_while(|listed| wish.after.as_ref().is_some_and(|after| listed.name() <= after.as_str()));
    let apps: Vec<Listed> = rest.by_ref().take(limit).collect();
    let next = apps.last().filter(|_| rest.next().is_some()).map(|last| URL_SAFE_NO_PAD.encode(last.name()));
    let items: Vec<Value> = apps.iter().filter_map(|app| app.describe(caller)).collect();
    Ok(json!({
        "items": items,
        "has_next": next.is_some(),
        "next_cursor": next.unwrap_or_default(),
        "has_previous": wish.after.is_some(),
        "prev_cursor": "",
        "items_per_page": limit,
        "total_items": total,
    }))
}

/// A model as lists show it.
fn describe(caller: &Caller, model: &ServedModel) -> Option<Value> {
    let app = App {
        name: model.id.clone(),
        kinds: kinds_of(&model.facts),
        facts: Some(model.facts),
        unknown: None,
    };
    let kind = *app.kinds.first()?;
    let listing = OwnListing {
        name: model.id.clone(),
        description: description(&app, &model.facts),
        category: kind.category(),
        input_schema: app.input_schema(),
        output_schema: app.output_schema(),
        created_unix_ms: line::known_since_unix_s(caller, model).unwrap_or_default().saturating_mul(1_000),
        ..OwnListing::default()
    };
    let mut described = describe_own(&listing);
    described.as_object_mut()?.insert("owned_by".to_owned(), json!(model.owned_by));
    Some(described)
}

/// An app as lists show it. Fields that this release has no use for are present but empty, since clients read them.
fn describe_own(app: &OwnListing) -> Value {
    let (namespace, name) = app.name.split_once('/').unwrap_or(("", &app.name));
    let known_since = moment(app.created_unix_ms);
    let version = if app.version > 0 { app.version.to_string() } else { String::new() };
    let needed = |key: &String| json!({"key": key, "description": "", "optional": false});
    json!({
        "id": app.name,
        "short_id": app.name,
        "created_at": known_since,
        "updated_at": known_since,
        "namespace": namespace,
        "name": name,
        "title": app.name,
        "description": app.description,
        "agent_description": app.description,
        "category": app.category,
        "owned_by": "",
        "images": {},
        "tags": [],
        "status": "active",
        "visibility": "private",
        "version_id": version,
        "version": {
            "id": version,
            "short_id": version,
            "created_at": known_since,
            "updated_at": known_since,
            "metadata": {},
            "repository": "",
            "setup_schema": null,
            "input_schema": app.input_schema,
            "output_schema": app.output_schema,
            "functions": {},
            "default_function": "run",
            "variants": {},
            "env": {},
            "kernel": "",
            "required_secrets": app.secrets.iter().map(needed).collect::<Vec<_>>(),
            "required_integrations": app.integrations.iter().map(needed).collect::<Vec<_>>(),
            "resources": {},
        },
        "input_schema": app.input_schema,
        "output_schema": app.output_schema,
    })
}

fn description(app: &App, facts: &ModelFacts) -> String {
    let does: Vec<&str> = app.kinds.iter().map(|kind| kind.does()).collect();
    let mut text = match does.as_slice() {
        [one] => format!("Its model {one}."),
        _ => {
            "Only its node or provider knows what its model does; the fields of the input define the request."
                .to_owned()
        }
    };
    if let Some(tokens) = facts.context_tokens {
        text.push_str(&format!(" Its context has {tokens} tokens."));
    }
    text
}

/// A schema of text apps for this model.
pub(super) fn refine(schema: &mut Value, facts: &ModelFacts) {
    let Some(fields) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return };
    if !facts.takes_pictures {
        fields.remove("image");
        fields.remove("images");
    }
    let most = facts.output_tokens_max;
    if let (Some(most), Some(length)) = (most, fields.get_mut("max_tokens").and_then(Value::as_object_mut)) {
        let text = format!("The maximum number of tokens in the answer; this model writes at most {most}.");
        length.insert("description".to_owned(), json!(text));
    }
}

pub(super) fn unknown(name: &str) -> Box<Fault> {
    let name: String = name.chars().filter(|letter| !letter.is_control()).take(128).collect();
    let message = format!("There is no app \"{name}\" that this key may run.");
    let fault = Fault::new(FaultClass::NotFound, "app_not_found", message);
    Box::new(fault.fix("List the apps at /v1/apps and use one of their ids.").param("app"))
}

fn nothing_here(rest: &str) -> Box<Fault> {
    let rest: String = rest.chars().filter(|letter| !letter.is_control()).take(128).collect();
    let message = format!("There is nothing at POST /apps/{rest}.");
    let fault = Fault::new(FaultClass::NotFound, "unknown_path", message);
    Box::new(fault.fix("Apps are listed at GET /v1/apps or POST /apps/list, and run at POST /v1/run."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_read_from_a_query_and_from_a_body() {
        let cursor = URL_SAFE_NO_PAD.encode("a/b");
        let wanted = ListWish {
            after: Some("a/b".to_owned()),
            limit: Some(5),
            category: Some("image".to_owned()),
            term: Some("gpt".to_owned()),
        };
        let query = format!("cursor={cursor}&limit=5&category=image&search=gpt");
        assert_eq!(ListWish::of_query(&query).unwrap(), wanted);
        let body = json!({
            "cursor": cursor, "limit": 5, "search": {"term": "gpt", "exact": false}, "sort": [], "fields": [],
            "filters": [{"field": "category", "operator": "eq", "value": "image"}],
        });
        assert_eq!(ListWish::of_body(body.to_string().as_bytes()).unwrap(), wanted);
        for empty in ["", "null", "{}", r#"{"cursor":"","limit":0,"filters":[]}"#] {
            assert_eq!(ListWish::of_body(empty.as_bytes()).unwrap(), ListWish::default(), "{empty}");
        }
    }

    #[test]
    fn what_is_no_list_is_refused_by_its_field() {
        let fault = |read: Result<ListWish, Box<Fault>>| {
            let fault = read.unwrap_err();
            (fault.code, fault.param.unwrap_or_default().into_string())
        };
        assert_eq!(fault(ListWish::of_query("limit=x")), ("invalid_value", "limit".to_owned()));
        assert_eq!(fault(ListWish::of_query("limit=101")), ("invalid_value", "limit".to_owned()));
        assert_eq!(fault(ListWish::of_query("cursor=%25")), ("invalid_value", "cursor".to_owned()));
        assert_eq!(fault(ListWish::of_body(b"[")), ("invalid_json", "cursor".to_owned()));
        let owner = br#"{"filters":[{"field":"owner","value":"x"}]}"#;
        assert_eq!(fault(ListWish::of_body(owner)), ("unsupported_field", "filters".to_owned()));
        assert_eq!(unknown("x\n").message, "There is no app \"x\" that this key may run.");
        assert_eq!(nothing_here("x").code, "unknown_path");
    }
}
