//! Resources of `/v2`: the handlers that make, list, show, change, replace and delete them, written once over
//! what each kind has.

use std::future::{Future, ready};
use std::sync::Arc;

use api::access::Access;
use api::failure::not_there;
use api::reply::{Page, Reply};
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::{Fault, WorkspaceId};
use http::Method;
use reconcilers::of_store;
use replayruns::Checked;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use store::resource::Owner;
use store::{Act, Listed, Premise, RULES_CHANGED, ResourceRow, StoreError, Written};

use crate::limits::CHECKED_AGAIN_MAX;

/// Whose rows a caller reaches.
pub trait OfCaller: Owner {
    fn of(request: &ApiRequest) -> Self;
}

impl OfCaller for WorkspaceId {
    fn of(request: &ApiRequest) -> Self {
        request.workspace()
    }
}

impl OfCaller for () {
    fn of(_: &ApiRequest) -> Self {}
}

/// A kind of row that `/v2` lists, shows and deletes under one path.
pub trait Resource: ResourceRow<Owner: OfCaller> {
    const PATH: &'static str;
    const ONE: &'static str;
    /// What people call one.
    const WHAT: &'static str;
    const READ: Access = Access::LOOK;
    const WRITE: Access = Access::MANAGE;
    /// Who creates and deletes one.
    const CREATE_AND_DELETE: Access = Self::WRITE;
    type View: Serialize + JsonSchema + Send;

    fn table(control: &Control) -> &dyn store::Resource<Self>;

    fn view(&self, control: &Control) -> impl Future<Output = Result<Self::View, Box<Fault>>> + Send;

    /// The row that the path names: its owner and its id.
    fn address(_: &Control, request: &ApiRequest) -> Result<(Self::Owner, Self::Id), Box<Fault>> {
        Ok((OfCaller::of(request), request.id(Self::WHAT)?))
    }

    fn rows(
        control: &Control,
        request: &ApiRequest,
    ) -> impl Future<Output = Result<Listed<Self, Self::Id>, Box<Fault>>> + Send {
        async move { Self::table(control).list(OfCaller::of(request), request.page()?).await.map_err(of_store) }
    }

    /// Deletes the row that the path names; returns the version without it.
    fn delete(
        control: &Control,
        request: &ApiRequest,
    ) -> impl Future<Output = Result<u64, Box<Fault>>> + Send {
        delete_row::<Self>(control, request)
    }

    /// Refuses a deletion that would move requests onto a node without evidence.
    fn check_deletion(_: &Control, _: &ApiRequest, _: Self::Id) -> impl Future<Output = Checked> + Send {
        ready(Ok(None))
    }
}

/// A resource that is created and changed through `/v2`.
pub trait WritableResource: Resource {
    /// The fields of a new one, as a client sends them.
    type Input: DeserializeOwned + JsonSchema + Send;
    /// The fields that a change may name.
    type Update: DeserializeOwned + JsonSchema + Send;
    /// What a write leaves to `finish`.
    type Rest: Send;

    /// The fields of an update as they are, for a merge patch.
    fn writable(&self, control: &Control) -> Result<Value, Box<Fault>>;

    fn new(
        control: &Control,
        request: &ApiRequest,
        input: Self::Input,
    ) -> impl Future<Output = Result<(Self::New, Self::Rest), Box<Fault>>> + Send;

    /// Refuses a new one that would move requests onto a node without evidence.
    fn check_creation(_: &Control, _: &ApiRequest, _: &Self::New) -> impl Future<Output = Checked> + Send {
        ready(Ok(None))
    }

    /// Refuses a change that would move requests onto a node without evidence.
    fn check_change(_: &Control, _: &ApiRequest, _: &Self::Change) -> impl Future<Output = Checked> + Send {
        ready(Ok(None))
    }

    /// The audit's data about a creation.
    fn act_of_creation(control: &Control, request: &ApiRequest) -> Act {
        request.act(&control.deps.world)
    }

    fn change(
        self,
        control: &Control,
        request: &ApiRequest,
        update: Self::Update,
    ) -> impl Future<Output = Result<(Self::Change, Self::Rest), Box<Fault>>> + Send;

    /// The reply to a write that is in force.
    fn finish(
        self,
        control: &Arc<Control>,
        _: &ApiRequest,
        _: Self::Rest,
    ) -> impl Future<Output = Result<Reply, Box<Fault>>> + Send {
        reply(control, self)
    }
}

/// The route that makes one.
pub fn post<R: WritableResource>(summary: &'static str) -> Route {
    Route::new(Method::POST, R::PATH, R::CREATE_AND_DELETE, create::<R>).says(summary).takes::<R::Input>()
}

/// The route that lists them.
pub fn list<R: Resource>(summary: &'static str) -> Route {
    Route::new(Method::GET, R::PATH, R::READ, all::<R>).says(summary).lists::<R::View>()
}

/// The route that shows one.
pub fn get<R: Resource>(summary: &'static str) -> Route {
    Route::new(Method::GET, R::ONE, R::READ, one::<R>).says(summary).returns::<R::View>()
}

/// The route that changes fields of one.
pub fn patch<R: WritableResource>(summary: &'static str) -> Route {
    let route = Route::new(Method::PATCH, R::ONE, R::WRITE, change::<R>);
    route.says(summary).patches::<R::Update>().returns::<R::View>()
}

/// The route that replaces one.
pub fn put<R: WritableResource>(summary: &'static str) -> Route {
    let route = Route::new(Method::PUT, R::ONE, R::WRITE, replace::<R>);
    route.says(summary).takes::<R::Update>().returns::<R::View>()
}

/// The route that deletes one.
pub fn delete<R: Resource>(summary: &'static str) -> Route {
    Route::new(Method::DELETE, R::ONE, R::CREATE_AND_DELETE, remove::<R>).says(summary).returns_no_content()
}

/// The row that the path names.
pub async fn load<R: Resource>(control: &Control, request: &ApiRequest) -> Result<R, Box<Fault>> {
    let (owner, id) = R::address(control, request)?;
    R::table(control).get(owner, id).await.map_err(|error| not_there(error, R::WHAT, &id))
}

/// Checks a change, and writes it on top of what was checked; both again where the rules changed in between.
pub async fn write_checked<T, C, W>(
    check: impl Fn() -> C + Send,
    write: impl Fn(Option<Premise>) -> W + Send,
) -> Result<T, Box<Fault>>
where
    C: Future<Output = Checked> + Send,
    W: Future<Output = Result<T, StoreError>> + Send,
{
    let mut again = 0;
    loop {
        let written = write(check().await?).await;
        let changed = matches!(&written, Err(StoreError::Conflict { what, .. }) if *what == RULES_CHANGED);
        if !changed || again == CHECKED_AGAIN_MAX {
            return written.map_err(of_store);
        }
        again += 1;
    }
}

/// Checks a new row, and writes it.
pub async fn create_row<R: WritableResource>(
    control: &Control,
    request: &ApiRequest,
    new: R::New,
) -> Result<Written<R>, Box<Fault>> {
    let write = |premise| {
        let act = R::act_of_creation(control, request).on(premise);
        R::table(control).create(new.clone(), act)
    };
    Box::pin(write_checked(|| R::check_creation(control, request, &new), write)).await
}

/// Checks a changed row, and writes it.
pub async fn replace_row<R: WritableResource>(
    control: &Control,
    request: &ApiRequest,
    change: R::Change,
    expected: Option<u64>,
) -> Result<Written<R>, Box<Fault>> {
    let write = |premise| {
        let act = request.act(&control.deps.world).on(premise);
        R::table(control).replace(change.clone(), expected, act)
    };
    Box::pin(write_checked(|| R::check_change(control, request, &change), write)).await
}

/// Deletes the row that the path names, once that is checked; returns the version without it.
pub async fn delete_row<R: Resource>(control: &Control, request: &ApiRequest) -> Result<u64, Box<Fault>> {
    let ((owner, id), expected) = (R::address(control, request)?, request.if_match()?);
    let write = |premise| {
        let act = request.act(&control.deps.world).on(premise);
        R::table(control).delete(owner, id, expected, act)
    };
    let deleted: Written<R> = write_checked(|| R::check_deletion(control, request, id), write).await?;
    Ok(deleted.version)
}

/// Shows a row, with its version.
pub async fn reply<R: Resource>(control: &Control, row: R) -> Result<Reply, Box<Fault>> {
    Ok(Reply::json(&row.view(control).await?)?.version(row.version()))
}

/// Shows a row that was written, once it is in force.
pub async fn reply_written<R: Resource>(control: &Control, written: Written<R>) -> Result<Reply, Box<Fault>> {
    control.deps.await_published(written.version).await?;
    reply(control, written.row).await
}

async fn create<R: WritableResource>(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let (new, rest) = R::new(control, &request, request.json()?).await?;
    let written = create_row::<R>(control, &request, new).await?;
    control.deps.await_published(written.version).await?;
    let location = format!("{}/{}", R::PATH, written.row.id());
    Ok(written.row.finish(control, &request, rest).await?.as_created(location))
}

async fn all<R: Resource>(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let listed = R::rows(control, &request).await?;
    let mut data = Vec::with_capacity(listed.rows.len());
    for row in &listed.rows {
        data.push(row.view(control).await?);
    }
    let Page { next_cursor, has_more, .. } = request.page_of(listed, |_| ());
    Reply::json(&Page { data, next_cursor, has_more })
}

async fn one<R: Resource>(control: &Arc<Control>, request: ApiRequest) -> Handled {
    reply(control, load::<R>(control, &request).await?).await
}

/// Changes the fields that a merge patch names.
pub async fn change<R: WritableResource>(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row = load::<R>(control, &request).await?;
    let update = request.apply_patch(row.writable(control)?)?;
    write(control, &request, update, row).await
}

async fn replace<R: WritableResource>(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row = load::<R>(control, &request).await?;
    write(control, &request, request.json()?, row).await
}

async fn write<R: WritableResource>(
    control: &Arc<Control>,
    request: &ApiRequest,
    update: R::Update,
    row: R,
) -> Result<Reply, Box<Fault>> {
    let (changed, rest) = row.change(control, request, update).await?;
    let written = replace_row::<R>(control, request, changed, request.if_match()?).await?;
    control.deps.await_published(written.version).await?;
    written.row.finish(control, request, rest).await
}

async fn remove<R: Resource>(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let version = R::delete(control, &request).await?;
    control.deps.await_published(version).await?;
    Ok(Reply::no_content())
}

/// A view without the fields that nobody writes, and without those that are null.
pub fn without(mut view: Value, derived: &[&str]) -> Value {
    if let Some(fields) = view.as_object_mut() {
        fields.retain(|name, value| !derived.contains(&name.as_str()) && !value.is_null());
    }
    view
}
