//! What tools, MCP servers, apps and secrets are read and deleted by: they are rows of one table each, with one set of SQL.

use std::sync::Arc;

use ::tools::{Declared, DeclaredRow, Kind};
use api::failure::not_there;
use api::reply::Reply;
use api::request::ApiRequest;
use api::state::Control;
use domain::Fault;
use reconcilers::of_store;
use serde::Serialize;

use crate::scope;

/// The row that the path names.
pub(crate) async fn load<K: Kind>(
    control: &Control,
    request: &ApiRequest,
) -> Result<DeclaredRow<K>, Box<Fault>> {
    let id: K::Id = request.id(K::WHAT)?;
    let found = Declared::of(&control.deps.store).get::<K>(request.workspace(), id).await;
    let row = found.map_err(|error| not_there(error, K::WHAT, &id))?;
    scope::check(request, row.owner.project, K::WHAT, &id)?;
    Ok(row)
}

/// A page of a list.
pub(crate) async fn list<K: Kind, V: Serialize>(
    control: &Arc<Control>,
    request: &ApiRequest,
    show: impl Fn(&DeclaredRow<K>) -> V,
) -> Result<Reply, Box<Fault>> {
    let project = scope::listed(request)?;
    let declared = Declared::of(&control.deps.store);
    let listed = declared.list::<K>(request.workspace(), project, request.page()?).await;
    Reply::json(&request.page_of(listed.map_err(of_store)?, show))
}

/// Deletes the row that the path names.
pub(crate) async fn delete<K: Kind>(
    control: &Arc<Control>,
    request: &ApiRequest,
) -> Result<Reply, Box<Fault>> {
    let row = load::<K>(control, request).await?;
    let (expected, act) = (request.if_match()?, request.act(&control.deps.world));
    let declared = Declared::of(&control.deps.store);
    declared.delete::<K>(request.workspace(), row.id, expected, act).await.map_err(of_store)?;
    Ok(Reply::no_content())
}
