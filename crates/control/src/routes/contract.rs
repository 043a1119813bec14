//! `/v2/openapi.json`: the OpenAPI document of this version.

use std::sync::Arc;

use http::Method;
use serde_json::{Map, Value};

use crate::access::Access;
use crate::request::ApiRequest;
use crate::router::{Handled, Route};
use crate::{Control, Reply};

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/v2/openapi.json", Access::ONESELF, document)
            .says("Gives this document.")
            .returns_value::<Map<String, Value>>(),
    ]
}

fn document(control: &Arc<Control>, _: ApiRequest) -> Handled<'_> {
    Box::pin(async move { Ok(Reply::written(control.api.document.clone())) })
}
