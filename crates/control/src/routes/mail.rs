//! `/v2/mail`: whether this gateway sends email, and to its operator what the mail server says.

use std::sync::Arc;

use api::access::Access;
use api::moment::Moment;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use http::Method;
use reconcilers::{LastEmail, Mailing};
use schemars::JsonSchema;
use serde::Serialize;

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/v2/mail", Access::LOOK, get)
            .says(
                "Shows whether the gateway sends email and, to the operator, by which server and what became of the last one.",
            )
            .returns::<MailView>(),
    ]
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Mail")]
struct MailView {
    object: &'static str,
    /// Whether a mail server is set.
    configured: bool,
    /// The sender of every email.
    from: Option<String>,
    /// The mail server's host and port; only the operator sees it.
    server: Option<String>,
    /// The email that the answering gateway sent last since it started; only the operator sees it.
    last_email: Option<LastEmailView>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "LastEmail")]
struct LastEmailView {
    sent_at: Moment,
    /// Whether the mail server accepted it.
    accepted: bool,
    /// What the mail server, or the connection to it, said.
    error: Option<String>,
}

impl From<LastEmail> for LastEmailView {
    fn from(last: LastEmail) -> Self {
        Self { sent_at: Moment(last.unix_ms), accepted: last.refusal.is_none(), error: last.refusal }
    }
}

async fn get(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let mail = control.deps.mail.as_deref();
    let of_operator = mail.filter(|_| request.is_operator());
    Reply::json(&MailView {
        object: "mail",
        configured: mail.is_some(),
        from: mail.map(Mailing::sender),
        server: of_operator.map(Mailing::server),
        last_email: of_operator.and_then(Mailing::last).map(LastEmailView::from),
    })
}
