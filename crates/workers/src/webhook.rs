//! Workers that somebody else's service starts: signed calls to a configured address, and nothing but that address.
//!
//! `POST url` orders one, `GET url/INSTANCE` says how it is, and `DELETE url/INSTANCE` ends it.

use std::collections::BTreeMap;

use bytes::Bytes;
use domain::Secret;
use egress::{Client, OutBody, Request, TargetKind};
use http::header::{CONTENT_TYPE, HeaderName, USER_AGENT};
use http::{HeaderValue, Method, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::timeout;

use crate::config::WebhookConfig;
use crate::life::{Life, Started};
use crate::limits::{CALL_BYTES_MAX, CALL_TIME_MAX};
use crate::record::{Folder, Handle};
use crate::spec::Rate;

pub(crate) const ID: HeaderName = HeaderName::from_static("webhook-id");
pub(crate) const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
pub(crate) const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

#[derive(Serialize)]
struct Ordered<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    worker_id: &'a str,
    spec: &'a Map<String, Value>,
    env: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    callback: Option<CallbackTo<'a>>,
}

/// Where the service may call, and what it signs the calls with.
#[derive(Serialize)]
struct CallbackTo<'a> {
    url: String,
    secret: &'a str,
}

/// What the service says of an instance. Later fields are ignored.
#[derive(Deserialize, Default)]
struct Stated {
    #[serde(default)]
    instance_id: Option<String>,
    /// `starting`, `running`, or `failed`.
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    address: Option<String>,
    #[serde(default)]
    nano_usd_per_hour: Option<u64>,
}

struct Heard {
    status: StatusCode,
    body: Bytes,
}

fn secret(webhook: &WebhookConfig) -> Result<Secret, String> {
    let path = webhook.secret_file.display();
    let text = std::fs::read_to_string(&webhook.secret_file)
        .map_err(|error| format!("The secret of the webhook can't be read from {path}: {error}."))?;
    let text = text.trim();
    if text.is_empty() {
        return Err(format!(
            "{path} is empty: write the secret that the node and the webhook share into it."
        ));
    }
    Ok(Secret::from_text(text.to_owned()))
}

async fn call(
    webhook: &WebhookConfig,
    client: &Client,
    (method, path): (Method, &str),
    (id, unix_s): (&str, u64),
    body: Vec<u8>,
) -> Result<Heard, String> {
    let url = format!("{}{path}", webhook.url.trim_end_matches('/'));
    let url = Uri::try_from(url).map_err(|error| format!("The webhook's address can't be used: {error}."))?;
    let signed = vault::webhook_signatures(&[secret(webhook)?], id, unix_s, &body);
    let mut request = Request::new(method, url);
    let agent = HeaderValue::from_static(concat!("tidegate-node/", env!("CARGO_PKG_VERSION")));
    request.headers.push((USER_AGENT, agent));
    request.headers.push((CONTENT_TYPE, HeaderValue::from_static("application/json")));
    for (name, value) in [(ID, id.to_owned()), (TIMESTAMP, unix_s.to_string()), (SIGNATURE, signed)] {
        let value = HeaderValue::try_from(value).map_err(|_| "The call can't be signed.".to_owned())?;
        request.headers.push((name, value));
    }
    request.body = OutBody::from(Bytes::from(body));
    let whole = async {
        let away = |error: egress::EgressError| format!("The webhook can't be reached: {}", error.message);
        let answer = client.send(&request, TargetKind::System).await.map_err(away)?;
        let status = answer.status;
        let body = answer.body.read_to_end(CALL_BYTES_MAX).await.map_err(away)?;
        Ok(Heard { status, body })
    };
    timeout(CALL_TIME_MAX, whole)
        .await
        .unwrap_or_else(|_| Err("The webhook did not answer in time.".to_owned()))
}

/// # Errors
/// The service refused, or can't be reached.
pub(crate) async fn start(
    webhook: &WebhookConfig,
    client: &Client,
    (id, spec): (&str, &Map<String, Value>),
    folder: &Folder,
    now_unix_s: u64,
) -> Result<Started, String> {
    let (variables, callback_secret) = (folder.secrets(), folder.callback_secret());
    let callback =
        webhook.callback_url.as_deref().zip(callback_secret.as_ref().and_then(Secret::expose_text));
    let callback = callback.map(|(url, secret)| CallbackTo {
        url: format!("{}/v1/compute/workers/{id}/callback", url.trim_end_matches('/')),
        secret,
    });
    let env = variables.iter().map(|(name, value)| (name.as_str(), value.expose_text().unwrap_or_default()));
    let ordered = Ordered { kind: "worker.create", worker_id: id, spec, env: env.collect(), callback };
    let body = serde_json::to_vec(&ordered).map_err(|error| error.to_string())?;
    let heard = call(webhook, client, (Method::POST, ""), (id, now_unix_s), body).await?;
    if !heard.status.is_success() {
        return Err(format!("The webhook answered {}.", heard.status));
    }
    let stated: Stated = serde_json::from_slice(&heard.body).unwrap_or_default();
    let instance = stated.instance_id.unwrap_or_else(|| id.to_owned());
    // It becomes part of a path.
    if !instance.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        || instance.len() > 128
    {
        return Err(
            "The webhook named an instance with characters other than letters, digits, - _ and dots."
                .to_owned(),
        );
    }
    let rate = Rate::of_provider(stated.nano_usd_per_hour);
    Ok(Started { handle: Handle::Hired { instance }, address: stated.address, rate })
}

pub(crate) async fn look(
    webhook: &WebhookConfig,
    client: &Client,
    (id, instance): (&str, &str),
    now_unix_s: u64,
) -> Life {
    let path = format!("/{instance}");
    let heard = match call(webhook, client, (Method::GET, &path), (id, now_unix_s), Vec::new()).await {
        Ok(heard) => heard,
        Err(why) => return Life::Unknown(why),
    };
    match heard.status {
        StatusCode::NOT_FOUND | StatusCode::GONE => Life::Ended("The webhook no longer knows it.".to_owned()),
        status if !status.is_success() => Life::Unknown(format!("The webhook answered {status}.")),
        _ => {
            let stated: Stated = serde_json::from_slice(&heard.body).unwrap_or_default();
            match stated.status.as_deref() {
                Some("running") => Life::Running,
                Some("failed") => Life::Ended(
                    stated.message.unwrap_or_else(|| "The webhook says that it failed.".to_owned()),
                ),
                _ => Life::Starting,
            }
        }
    }
}

/// # Errors
/// The service refused, or can't be reached.
pub(crate) async fn destroy(
    webhook: &WebhookConfig,
    client: &Client,
    (id, instance): (&str, &str),
    now_unix_s: u64,
) -> Result<(), String> {
    let path = format!("/{instance}");
    let heard = call(webhook, client, (Method::DELETE, &path), (id, now_unix_s), Vec::new()).await?;
    match heard.status {
        StatusCode::NOT_FOUND | StatusCode::GONE => Ok(()),
        status if status.is_success() => Ok(()),
        status => Err(format!("The webhook answered {status}.")),
    }
}

/// Ends what the service may have started without naming it: by the worker's id, which it was sent. One that knows no such instance
/// says so by any answer that blames the request.
///
/// # Errors
/// The service can't be reached, or failed.
pub(crate) async fn destroy_unheard(
    webhook: &WebhookConfig,
    client: &Client,
    id: &str,
    now_unix_s: u64,
) -> Result<(), String> {
    let heard =
        call(webhook, client, (Method::DELETE, &format!("/{id}")), (id, now_unix_s), Vec::new()).await?;
    match heard.status {
        status if status.is_success() || status.is_client_error() => Ok(()),
        status => Err(format!("The webhook answered {status}.")),
    }
}
