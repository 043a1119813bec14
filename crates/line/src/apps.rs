//! Runs of apps for those that stand below the crate which knows apps: a tool of a project may be one.

use std::pin::Pin;
use std::rc::Rc;

use admit::Caller;
use decode::Inbound;
use domain::Fault;
use http::Response;
use serde_json::Value;
use settle::ReplyBody;

use crate::Core;

/// A future of one core.
pub type OnCore<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Where nothing runs apps.
#[derive(Debug, Clone, Copy)]
pub struct NoApps;

impl AppRunner for NoApps {
    fn run<'a>(
        &'a self,
        core: &'a Rc<Core>,
        inbound: Inbound,
        _caller: Caller,
    ) -> OnCore<'a, Response<ReplyBody>> {
        Box::pin(async move { crate::refuse(core, inbound.dialect, &Fault::internal(), inbound.trace) })
    }

    fn input_schema<'a>(
        &'a self,
        _core: &'a Rc<Core>,
        _caller: &'a Caller,
        _app: &'a str,
    ) -> OnCore<'a, Option<Value>> {
        Box::pin(async { None })
    }
}

/// What runs apps.
pub trait AppRunner: Send + Sync {
    /// Runs an app and waits for it, as `POST /v1/run` does.
    fn run<'a>(
        &'a self,
        core: &'a Rc<Core>,
        inbound: Inbound,
        caller: Caller,
    ) -> OnCore<'a, Response<ReplyBody>>;

    /// The JSON Schema of what an app takes; `None` where there is no such app.
    fn input_schema<'a>(
        &'a self,
        core: &'a Rc<Core>,
        caller: &'a Caller,
        app: &'a str,
    ) -> OnCore<'a, Option<Value>>;
}
