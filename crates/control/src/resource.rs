//! Resources of `/v2`: the handlers that make, list, show, change, replace and delete them, written once over
//! what each kind has.

use std::future::{Future, ready};
use std::sync::Arc;

use api::access::Access;
use api::reply::{Page, Reply};
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::{Fault, WorkspaceId};
use http::Method;
use reconcilers::of_store;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use store::resource::Owner;
use store::{Listed, ResourceRow, Written};

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

/// A kind of row that `/v2` serves under one path.
pub trait Resource: ResourceRow<Owner: OfCaller> {
    const PATH: &'static str;
    const ONE: &'static str;
    /// What people call one.
    const WHAT: &'static str;
    const READ: Access = Access::LOOK;
    const WRITE: Access = Access::MANAGE;
    /// The writable fields, as a client sends them.
    type Input: DeserializeOwned + JsonSchema + Send;
    type View: Serialize + JsonSchema + Send;
    /// What a write leaves to `finish`.
    type Rest: Send;

    fn table(control: &Control) -> &dyn store::Resource<Self>;

    fn view(&self, control: &Control) -> impl Future<Output = Result<Self::View, Box<Fault>>> + Send;

    /// The writable fields as they are, for a merge patch.
    fn writable(&self, control: &Control) -> Result<Value, Box<Fault>>;

    fn new(
        control: &Control,
        request: &ApiRequest,
        input: Self::Input,
    ) -> impl Future<Output = Result<(Self::New, Self::Rest), Box<Fault>>> + Send;

    fn change(
        self,
        control: &Control,
        request: &ApiRequest,
        input: Self::Input,
    ) -> impl Future<Output = Result<(Self::Change, Self::Rest), Box<Fault>>> + Send;

    fn listed(
        control: &Control,
        request: &ApiRequest,
    ) -> impl Future<Output = Result<Listed<Self, Self::Id>, Box<Fault>>> + Send {
        async move { Self::table(control).list(OfCaller::of(request), request.page()?).await.map_err(of_store) }
    }

    /// Whether the caller may delete the row that the path names.
    fn allow_deletion(_: &Control, _: &ApiRequest) -> impl Future<Output = Result<(), Box<Fault>>> + Send {
        ready(Ok(()))
    }

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
pub fn post<R: Resource>(summary: &'static str) -> Route {
    Route::new(Method::POST, R::PATH, R::WRITE, create::<R>).says(summary).takes::<R::Input>()
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
pub fn patch<R: Resource>(summary: &'static str) -> Route {
    let route = Route::new(Method::PATCH, R::ONE, R::WRITE, change::<R>);
    route.says(summary).patches::<R::Input>().returns::<R::View>()
}

/// The route that replaces one.
pub fn put<R: Resource>(summary: &'static str) -> Route {
    let route = Route::new(Method::PUT, R::ONE, R::WRITE, replace::<R>);
    route.says(summary).takes::<R::Input>().returns::<R::View>()
}

/// The route that deletes one.
pub fn delete<R: Resource>(summary: &'static str) -> Route {
    Route::new(Method::DELETE, R::ONE, R::WRITE, remove::<R>).says(summary).returns_no_content()
}

/// The row that the path names.
pub async fn load<R: Resource>(control: &Control, request: &ApiRequest) -> Result<R, Box<Fault>> {
    R::table(control).get(OfCaller::of(request), request.id(R::WHAT)?).await.map_err(of_store)
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

fn create<R: Resource>(control: &Arc<Control>, request: ApiRequest) -> Handled<'_> {
    Box::pin(async move {
        let (new, rest) = R::new(control, &request, request.json()?).await?;
        let act = request.act(&control.deps.world);
        let written = R::table(control).create(new, act).await.map_err(of_store)?;
        control.deps.await_published(written.version).await?;
        let location = format!("{}/{}", R::PATH, written.row.id());
        Ok(written.row.finish(control, &request, rest).await?.created(location))
    })
}

fn all<R: Resource>(control: &Arc<Control>, request: ApiRequest) -> Handled<'_> {
    Box::pin(async move {
        let listed = R::listed(control, &request).await?;
        let mut data = Vec::with_capacity(listed.rows.len());
        for row in &listed.rows {
            data.push(row.view(control).await?);
        }
        let Page { next_cursor, has_more, .. } = request.paged(listed, |_| ());
        Reply::json(&Page { data, next_cursor, has_more })
    })
}

fn one<R: Resource>(control: &Arc<Control>, request: ApiRequest) -> Handled<'_> {
    Box::pin(async move { reply(control, load::<R>(control, &request).await?).await })
}

fn change<R: Resource>(control: &Arc<Control>, request: ApiRequest) -> Handled<'_> {
    Box::pin(async move {
        let row = load::<R>(control, &request).await?;
        let input = request.patched(row.writable(control)?)?;
        write(control, &request, input, row).await
    })
}

fn replace<R: Resource>(control: &Arc<Control>, request: ApiRequest) -> Handled<'_> {
    Box::pin(async move {
        let row = load::<R>(control, &request).await?;
        write(control, &request, request.json()?, row).await
    })
}

async fn write<R: Resource>(
    control: &Arc<Control>,
    request: &ApiRequest,
    input: R::Input,
    row: R,
) -> Result<Reply, Box<Fault>> {
    let (changed, rest) = row.change(control, request, input).await?;
    let act = request.act(&control.deps.world);
    let written = R::table(control).replace(changed, request.if_match()?, act).await.map_err(of_store)?;
    control.deps.await_published(written.version).await?;
    written.row.finish(control, request, rest).await
}

fn remove<R: Resource>(control: &Arc<Control>, request: ApiRequest) -> Handled<'_> {
    Box::pin(async move {
        let act = request.act(&control.deps.world);
        let (owner, id) = (OfCaller::of(&request), request.id(R::WHAT)?);
        R::allow_deletion(control, &request).await?;
        let deleted = R::table(control).delete(owner, id, request.if_match()?, act).await;
        control.deps.await_published(deleted.map_err(of_store)?.version).await?;
        Ok(Reply::no_content())
    })
}

/// A view without the fields that nobody writes, and without those that are null.
pub fn without(mut view: Value, derived: &[&str]) -> Value {
    if let Some(fields) = view.as_object_mut() {
        fields.retain(|name, value| !derived.contains(&name.as_str()) && !value.is_null());
    }
    view
}
