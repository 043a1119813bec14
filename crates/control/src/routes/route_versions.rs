//! `/v2/routes/{id}/versions`: what a route has been, what each save changed, and the way back.

use std::sync::Arc;

use api::access::Access;
use api::failure::{invalid, missing};
use api::moment::Moment;
use api::reply::{Page, Reply};
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::{Fault, FaultClass};
use http::Method;
use reconcilers::of_store;
use replayruns::gated;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{RouteRow, RouteVersion};

use super::field_changes::{FieldChange, differences};
use super::rules::{RouteView, Wire, wire_of};
use crate::resource::{load, replace_row, reply_written};

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/v2/routes/{id}/versions", Access::LOOK, list)
            .says("Lists a route's versions, newest first: what each save left, and what it changed.")
            .lists::<VersionView>(),
        Route::new(Method::GET, "/v2/routes/{id}/diff", Access::LOOK, diff)
            .says("Shows what differs between two versions of a route.")
            .returns_value::<VersionDiff>()
            .query("from", "The number of a version; by default the one before `to`.")
            .query("to", "The number of another version; by default the newest."),
        gated(
            Route::new(Method::POST, "/v2/routes/{id}/rollback", Access::MANAGE, rollback)
                .says("Restores an earlier version of a route, as a new version.")
                .takes::<Rollback>()
                .returns::<RouteView>(),
        ),
    ]
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RouteVersion")]
struct VersionView {
    object: &'static str,
    version: u64,
    saved_at: Moment,
    /// A key, a person, or `system`; `null` for what was saved before versions were kept.
    saved_by: Option<String>,
    rule: Wire,
    /// What differs from the version before; empty for the oldest that is kept.
    changes: Vec<FieldChange>,
}

/// The version to go back to.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RouteRollback")]
struct Rollback {
    #[schemars(required)]
    version: Option<u64>,
}

async fn versions(
    control: &Control,
    request: &ApiRequest,
    row: &RouteRow,
) -> Result<Vec<RouteVersion>, Box<Fault>> {
    control.deps.store.route_versions().list(request.workspace(), row.id).await.map_err(of_store)
}

async fn list(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row = load::<RouteRow>(control, &request).await?;
    let versions = versions(control, &request, &row).await?;
    let before = versions.iter().skip(1).map(Some).chain([None]);
    let views = versions.iter().zip(before).map(|(version, before)| show(version, before));
    Reply::json(&Page::whole(views.collect::<Result<_, _>>()?))
}

fn show(version: &RouteVersion, before: Option<&RouteVersion>) -> Result<VersionView, Box<Fault>> {
    let rule = wire_of(&version.spec);
    let changes = match before {
        None => Vec::new(),
        Some(before) => differences(&fields(&wire_of(&before.spec))?, &fields(&rule)?),
    };
    Ok(VersionView {
        object: "route_version",
        version: version.number,
        saved_at: Moment(version.saved_unix_ms),
        saved_by: version.saved_by.clone(),
        rule,
        changes,
    })
}

/// What differs between two versions.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RouteDiff")]
struct VersionDiff {
    object: &'static str,
    from: u64,
    to: u64,
    changes: Vec<FieldChange>,
}

async fn diff(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row = load::<RouteRow>(control, &request).await?;
    let versions = versions(control, &request, &row).await?;
    let named = |name: &'static str| match request.query.get(name) {
        None => Ok(None),
        Some(text) => {
            let Ok(number) = text.parse::<u64>() else {
                let fix = "GET /v2/routes/{id}/versions lists them.";
                return Err(invalid(name, format!("{name} is not the number of a version."), fix));
            };
            let found = versions.iter().find(|version| version.number == number);
            found.map(Some).ok_or_else(|| Box::new(unknown(number).param(name)))
        }
    };
    let newest = || versions.first().ok_or_else(|| Box::new(Fault::internal()));
    let to = named("to")?.map_or_else(newest, Ok)?;
    let before = versions.iter().find(|version| version.number < to.number);
    let from = named("from")?.or(before).unwrap_or(to);
    Reply::json(&VersionDiff {
        object: "route_diff",
        from: from.number,
        to: to.number,
        changes: differences(&fields(&wire_of(&from.spec))?, &fields(&wire_of(&to.spec))?),
    })
}

fn fields(wire: &Wire) -> Result<Value, Box<Fault>> {
    serde_json::to_value(wire).map_err(|_| Box::new(Fault::internal()))
}

async fn rollback(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let input: Rollback = request.json()?;
    let number = input
        .version
        .ok_or_else(|| missing("version", "Name a version: GET /v2/routes/{id}/versions lists them."))?;
    let row = load::<RouteRow>(control, &request).await?;
    let mut versions = versions(control, &request, &row).await?;
    let Some(at) = versions.iter().position(|version| version.number == number) else {
        return Err(unknown(number));
    };
    let changed = RouteRow { spec: versions.swap_remove(at).spec, ..row };
    let written = replace_row::<RouteRow>(control, &request, changed, request.if_match()?).await?;
    reply_written(control, written).await
}

fn unknown(number: u64) -> Box<Fault> {
    let message = format!("The route has no version {number}, or that version is no longer stored.");
    let fault = Fault::new(FaultClass::NotFound, "route_version_not_found", message).param("version");
    Box::new(fault.fix("Use a version that GET /v2/routes/{id}/versions lists."))
}
