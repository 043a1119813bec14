//! Answers the requests of `/v2`: finds the route, lets the caller in, runs the handler and writes the response.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::Bytes;
use domain::ports::{KeyHash, StoredAnswer};
use domain::{Fault, Secret, TraceId, WorkspaceId};
use http::{HeaderMap, Method, Response};
use http_body::Body;
use http_body_util::Full;
use reconcilers::{Deps, Nodes};

use crate::access::Access;
use crate::answering::ResponseBuilder;
use crate::caller::{Caller, DataPlaneCaller, UnauthenticatedCaller};
use crate::cursor::CursorSeal;
use crate::downloads::Download;
use crate::incoming::Incoming;
use crate::limits::BRIEF_BODY_BYTES_MAX;
use crate::openapi::describe;
use crate::reply::Reply;
use crate::request::ApiRequest;
use crate::router::{Handled, Handler, Handling, Matched, Route, RouteAuth};
use crate::state::{Control, SignIn, Web};
use crate::{caller, idempotency, incoming, managed, named, openapi, router, table};

/// The routes of `/v2`, and what their handlers work with.
pub struct Server {
    control: Arc<Control>,
    table: Vec<Route>,
}

/// The outcome of a request.
enum KeyedOutcome {
    Unkeyed(Reply),
    /// The first request under its idempotency key.
    Claimed(Reply, line::ClaimGuard),
    Replayed(StoredAnswer),
}

impl Server {
    /// What its handlers work on.
    pub const fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// # Errors
    /// The table of routes is unsound.
    pub fn new(
        deps: Deps,
        nodes: Arc<Nodes>,
        web: Web,
        operator: WorkspaceId,
        routes: fn() -> Vec<Route>,
    ) -> Result<Self, String> {
        let table = routes();
        table::check(&table)?;
        describe::check(&table)?;
        let sign_in = SignIn::new(&deps.vault);
        let document = Box::new(openapi::served(routes));
        let control = Control { deps, nodes, web, operator, sign_in, document };
        Ok(Self { control: Arc::new(control), table })
    }

    /// Returns when the writes that follow a response are done.
    pub async fn finish(&self) {
        self.control.sign_in.writes.finish().await;
    }

    /// Answers one `/v2` request. It never fails: errors become problem documents.
    pub async fn handle<B>(
        &self,
        request: http::Request<B>,
        peer: IpAddr,
        trace: TraceId,
    ) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let answering = ResponseBuilder::of(&request, trace);
        let (mut head, body) = request.into_parts();
        incoming::name_host(&mut head);
        match Box::pin(self.answer(Incoming { head, body, peer, trace })).await {
            Ok(KeyedOutcome::Unkeyed(reply)) => answering.succeed(reply),
            Ok(KeyedOutcome::Claimed(reply, held)) => idempotency::keep(answering.succeed(reply), held).await,
            Ok(KeyedOutcome::Replayed(answer)) => idempotency::again(answer),
            Err((fault, allow)) => answering.fail(&fault, allow),
        }
    }

    /// What a route answers to the gateway itself, which reads of a workspace what its admins may, and nothing of the
    /// installation.
    pub async fn look(
        &self,
        workspace: WorkspaceId,
        path: &str,
        query: BTreeMap<String, String>,
    ) -> Result<Reply, Box<Fault>> {
        let Matched::Found(route, parameters) = router::find(&self.table, &Method::GET, path) else {
            return Err(incoming::unknown_path(&self.table, path));
        };
        let RouteAuth::Known(_, handler) = route.auth else {
            return Err(incoming::unknown_path(&self.table, path));
        };
        let control = &self.control;
        let hasher = Arc::clone(&control.deps.vault.hasher) as Arc<dyn KeyHash>;
        let world = &control.deps.world;
        let request = ApiRequest {
            caller: Caller::of_gateway(control, workspace)?,
            trace: TraceId::new(world.clock.unix_ms(), world.id_bytes()),
            peer: Ipv4Addr::LOCALHOST.into(),
            parameters,
            cursor_seal: CursorSeal::new(hasher, Some(workspace), path, &query),
            query,
            is_rehearsal: false,
            needs: route.auth.needs(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        };
        handler.handle(control, request).await
    }

    async fn answer<B>(&self, incoming: Incoming<B>) -> Result<KeyedOutcome, (Box<Fault>, Option<String>)>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let plain = |fault: Box<Fault>| (fault, None);
        let control = &self.control;
        let head = &incoming.head;
        // The caller is authenticated before the response depends on the path: unauthenticated callers must
        // not find out which paths exist.
        let (route, parameters, other_methods) =
            match router::find(&self.table, &head.method, head.uri.path()) {
                Matched::Found(route, parameters) => (Some(route), parameters, None),
                Matched::OtherMethods(allowed) => (None, Vec::new(), Some(allowed)),
                Matched::Unknown => (None, Vec::new(), None),
            };
        if let Some(route @ Route { auth: RouteAuth::Open(handler), .. }) = route {
            let carries = caller::session_token(&control.web.site, &head.headers).map_err(plain)?;
            let carries = carries.map(|token| Secret::from_text(token.to_owned()));
            let stranger = UnauthenticatedCaller { session_token: carries };
            let request = incoming.read(control, route, parameters, stranger, None).await.map_err(plain)?;
            return run_handler(request.is_rehearsal, handler.handle(control, request))
                .await
                .map(KeyedOutcome::Unkeyed)
                .map_err(plain);
        }
        if let Some(route @ Route { auth: RouteAuth::Node(handler), .. }) = route {
            let reporter = caller::reporter(control, &head.headers).await.map_err(plain)?;
            let workspace = Some(reporter.known.workspace);
            let request =
                incoming.read(control, route, parameters, reporter, workspace).await.map_err(plain)?;
            return run_handler(request.is_rehearsal, handler.handle(control, request))
                .await
                .map(KeyedOutcome::Unkeyed)
                .map_err(plain);
        }
        if let Some(route @ Route { auth: RouteAuth::DataPlane(handler), .. }) = route {
            let done = self.answer_data_plane(incoming, route, (*handler, parameters)).await;
            return done.map(KeyedOutcome::Unkeyed).map_err(plain);
        }
        let unmatched = access_without_route(&head.method, other_methods.is_some());
        let access = route.and_then(|route| route.auth.access()).unwrap_or(unmatched);
        let caller = caller::identify(control, head, incoming.peer, access).await.map_err(plain)?;
        let Some(route @ Route { auth: RouteAuth::Known(_, handler), .. }) = route else {
            return match other_methods {
                Some(allowed) if head.method == Method::OPTIONS => {
                    Ok(KeyedOutcome::Unkeyed(Reply::allows(allowed)))
                }
                Some(allowed) => Err(incoming::wrong_method(&head.method, head.uri.path(), allowed)),
                None => Err(plain(incoming::unknown_path(&self.table, head.uri.path()))),
            };
        };
        managed::check(&control.web.planes, route).map_err(plain)?;
        let workspace = Some(caller.workspace());
        let (path, method) = (head.uri.path().to_owned(), head.method.clone());
        let request = incoming.read(control, route, parameters, caller, workspace).await.map_err(plain)?;
        let held = match idempotency::claim(control, route, &path, &request).await.map_err(plain)? {
            Some(line::KeyClaim::Repeat(answer)) => return Ok(KeyedOutcome::Replayed(answer)),
            Some(line::KeyClaim::First(held)) => Some(held),
            None => None,
        };
        let download =
            route.gives_files().then(|| Download::of(&control.deps, &method, &path, &request)).flatten();
        // If it fails, the claim on the idempotency key is released.
        let reply = Box::pin(run_named(control, route, *handler, request)).await.map_err(plain)?;
        if let Some(download) = download {
            download.audit(&control.deps, &reply).await.map_err(plain)?;
        }
        Ok(match held {
            Some(held) => KeyedOutcome::Claimed(reply, held),
            None => KeyedOutcome::Unkeyed(reply),
        })
    }
}

impl Server {
    async fn answer_data_plane<B>(
        &self,
        incoming: Incoming<B>,
        route: &Route,
        (handler, parameters): (Handler<DataPlaneCaller>, Vec<String>),
    ) -> Result<Reply, Box<Fault>>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let control = &self.control;
        let plane = caller::data_plane(control, &incoming.head.headers).await?;
        let workspace = Some(plane.0.workspace);
        let request = incoming.read(control, route, parameters, plane, workspace).await?;
        run_handler(request.is_rehearsal, handler.handle(control, request)).await
    }
}

/// Who is told that there is no such route. That a path doesn't exist is told to every key: no scope would help.
fn access_without_route(method: &Method, takes_others: bool) -> Access {
    if !takes_others || *method == Method::OPTIONS { Access::ONESELF } else { Access::LOOK }
}

/// Runs a handler on a request whose names are ids by then, beside the thread of all where that may take long.
async fn run_named(
    control: &Arc<Control>,
    route: &Route,
    handler: Handler,
    request: ApiRequest,
) -> Result<Reply, Box<Fault>> {
    let (owner, size) = (request.workspace(), (&route.method, request.body.len()));
    // Boxed: the future that waits for a permit would be as large.
    let working = Box::pin(async {
        let request = named::resolve(control, route.pattern, request).await?;
        run_handler(request.is_rehearsal, handler.handle(control, request)).await
    });
    run_apart(owner, size, working).await
}

/// Works on an answer where it keeps nothing else waiting: reads compare documents, and render large ones.
async fn run_apart<F: Future>(
    owner: WorkspaceId,
    (method, body_bytes): (&Method, usize),
    work: F,
) -> F::Output {
    let may_take_long = *method == Method::GET || body_bytes > BRIEF_BODY_BYTES_MAX;
    if may_take_long { beside(Some(owner), work).await } else { work.await }
}

/// Work of a workspace on answers of `/v2`, beside the thread of all. Callers whom no workspace is known of are one owner.
pub async fn beside<F: Future>(workspace: Option<WorkspaceId>, work: F) -> F::Output {
    tasks::beside(workspace.map_or([0; 16], |id| *id.as_bytes()), work).await
}

/// Runs a handler; in a rehearsal its writes are rolled back and only the reply remains.
async fn run_handler(is_rehearsal: bool, handling: Handling<'_>) -> Handled {
    if is_rehearsal { store::rehearse(handling).await.map(Reply::as_rehearsal) } else { handling.await }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_may_take_long_keeps_nothing_from_its_thread() {
        let runtime = tasks::runtime("control").unwrap();
        for (method, body_bytes) in [(Method::GET, 0), (Method::POST, BRIEF_BODY_BYTES_MAX + 1)] {
            let ((begun, has_begun), (end, wait)) = (mpsc::channel(), mpsc::channel());
            let computing = runtime.spawn(async move {
                let compute = async move {
                    begun.send(()).unwrap();
                    wait.recv().unwrap();
                };
                run_apart(WorkspaceId::new(1, [1; 10]), (&method, body_bytes), compute).await;
            });
            has_begun.recv().unwrap();
            let (done, is_done) = mpsc::channel();
            let other = runtime.spawn(async move { done.send(()) });
            let seen = is_done.recv_timeout(Duration::from_secs(10));
            end.send(()).unwrap();
            runtime.block_on(computing).unwrap();
            runtime.block_on(other).unwrap().unwrap();
            seen.unwrap();
        }
    }
}
