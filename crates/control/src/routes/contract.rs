//! `/v2/openapi.json`: the OpenAPI document of this version.

use std::sync::Arc;

use api::access::Access;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use http::Method;
use serde_json::{Map, Value};

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/v2/openapi.json", Access::ONESELF, document)
            .says("Returns this document.")
            .returns_value::<Map<String, Value>>(),
    ]
}

async fn document(control: &Arc<Control>, _: ApiRequest) -> Handled {
    Ok(Reply::verbatim((control.document)()?))
}
