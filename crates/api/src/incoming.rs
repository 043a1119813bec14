//! Reads a `/v2` request and checks everything that doesn't depend on its meaning: version, `Accept`, query
//! parameters, size and media type.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use domain::limits::CONTROL_BODY_BYTES_MAX;
use domain::ports::KeyHash;
use domain::{Fault, FaultClass, TraceId, WorkspaceId};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, header};
use http_body::Body;
use http_body_util::{BodyExt, Limited};

use crate::cursor::CursorSeal;
use crate::reply::{ARCHIVE, allow_list};
use crate::request::{self, ApiRequest};
use crate::router::{self, Route};
use crate::state::Control;
use crate::version;

pub struct Incoming<B> {
    pub head: Parts,
    pub body: B,
    pub peer: IpAddr,
    pub trace: TraceId,
}

impl<B> Incoming<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Reads the request into what the route's handler is given.
    ///
    /// # Errors
    /// 400, 406, 413 or 415.
    pub async fn read<C>(
        self,
        control: &Control,
        route: &Route,
        parameters: Vec<String>,
        caller: C,
        workspace: Option<WorkspaceId>,
    ) -> Result<ApiRequest<C>, Box<Fault>> {
        let Self { head, body, peer, trace } = self;
        version::check(&head.headers)?;
        // Who follows something asks for events, in whichever form its client knows.
        if !route.description.gives_events && !takes_an_answer(&head.headers, route.gives_files()) {
            return Err(not_acceptable());
        }
        let mut query = request::read_query(head.uri.query().unwrap_or(""))?;
        let is_rehearsal = route.is_rehearsal(&mut query)?;
        route.check_query(&query)?;
        let body = read_body(body, route.body_bytes_max()).await?;
        if !body.is_empty() && !is_json(&head.headers) {
            return Err(not_json());
        }
        let hasher = Arc::clone(&control.deps.vault.hasher) as Arc<dyn KeyHash>;
        let cursor_seal = CursorSeal::new(hasher, workspace, head.uri.path(), &query);
        let headers = head.headers;
        let needs = route.auth.needs();
        Ok(ApiRequest {
            caller,
            trace,
            peer,
            parameters,
            query,
            is_rehearsal,
            needs,
            cursor_seal,
            headers,
            body,
        })
    }
}

/// Copies the authority of an HTTP/2 request, which is in its target, into `Host`.
pub fn name_host(head: &mut Parts) {
    if head.headers.contains_key(header::HOST) {
        return;
    }
    let authority = head.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    if let Some(authority) = authority {
        head.headers.insert(header::HOST, authority);
    }
}

/// Whether `Accept` allows JSON or, on routes that export them, files. Weights are ignored.
fn takes_an_answer(headers: &HeaderMap, gives_files: bool) -> bool {
    let mut wanted =
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).peekable();
    if wanted.peek().is_none() {
        return true;
    }
    let ours: &[&str] = &["*/*", "application/*", "application/json", "application/problem+json", ARCHIVE];
    let files: &[&str] = if gives_files { &["text/*", "text/csv", "application/x-ndjson"] } else { &[] };
    let kinds =
        wanted.flat_map(|value| value.split(',')).map(|kind| kind.split(';').next().unwrap_or("").trim());
    let mut kinds = kinds.map(str::to_ascii_lowercase);
    kinds.any(|kind| kind.is_empty() || ours.contains(&kind.as_str()) || files.contains(&kind.as_str()))
}

fn not_acceptable() -> Box<Fault> {
    Box::new(
        Fault::new(
            FaultClass::NotAcceptable,
            "not_acceptable",
            "Answers are JSON, and Accept has no room for that.",
        )
        .param("Accept")
        .fix("Send Accept: application/json, or leave it out."),
    )
}

async fn read_body<B>(body: B, bytes_max: usize) -> Result<Bytes, Box<Fault>>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match Limited::new(body, bytes_max).collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(Box::new(
            Fault::new(
                FaultClass::TooLarge,
                "body_too_large",
                format!("The body is over {bytes_max} bytes."),
            )
            .fix(match bytes_max {
                CONTROL_BODY_BYTES_MAX => "Configuration is never that large; send less.",
                _ => "Send less at a time.",
            }),
        )),
        // The process holds as many bytes as it may.
        Err(error) => Err(error.downcast::<Fault>().unwrap_or_else(|_| {
            let message = "The body ended before it was complete.";
            Box::new(Fault::new(FaultClass::BadRequest, "body_cut", message).fix("Send it again."))
        })),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let kind = kind.split(';').next().unwrap_or("").trim();
    kind.eq_ignore_ascii_case("application/json") || kind.eq_ignore_ascii_case("application/merge-patch+json")
}

fn not_json() -> Box<Fault> {
    Box::new(
        Fault::new(FaultClass::MediaType, "unsupported_media_type", "The body is not declared as JSON.")
            .param("Content-Type")
            .fix("Send Content-Type: application/json."),
    )
}

/// Paths of other vendors' APIs, and shorter ones that people try, with what to send instead.
const ELSEWHERE: [(&str, &str); 9] = [
    ("/v2/alerts", "Use /v2/alert-rules."),
    ("/v2/aliases", "Use /v2/model-aliases."),
    ("/v2/credentials", "Use /v2/provider-credentials."),
    ("/v2/keys", "Use /v2/api-keys."),
    ("/v2/nodes", "Use /v2/byoc/nodes."),
    ("/v2/chat", "Send chats to POST /v1/chat/completions, as docs/api.md describes."),
    ("/v2/chat/completions", "Send the request to POST /v1/chat/completions."),
    ("/v2/rerank", "Send the request to POST /v1/rerank."),
    ("/v2/embed", "Send texts to POST /v1/embeddings, as docs/api.md describes."),
];

pub fn unknown_path(routes: &[Route], path: &str) -> Box<Fault> {
    let truncated = |text: &str| text.chars().take(200).collect::<String>();
    let (message, fix) = match router::collection(routes, path) {
        Some((collection, end)) => (
            format!(
                "\"{}\" is neither an id at {} nor a path below it.",
                truncated(end),
                truncated(collection)
            ),
            format!("GET {} lists what is there.", truncated(collection)),
        ),
        None => {
            let others = ELSEWHERE.iter().find(|(other, _)| *other == path);
            let fix = others.map_or("docs/api.md lists what this version serves under /v2.", |(_, fix)| *fix);
            (format!("There is nothing at {} in this version of Tidegate.", truncated(path)), fix.to_owned())
        }
    };
    Box::new(Fault::new(FaultClass::NotFound, "not_found", message).fix(fix))
}

pub fn wrong_method(method: &Method, path: &str, allowed: Vec<Method>) -> (Box<Fault>, Option<String>) {
    let list = allow_list(allowed);
    let path: String = path.chars().take(200).collect();
    let fault = Fault::new(
        FaultClass::MethodNotAllowed,
        "method_not_allowed",
        format!("{path} doesn't take {method}."),
    )
    .fix(format!("It takes {list}."));
    (Box::new(fault), Some(list))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_others_are_told_where_to_go() {
        for (path, address) in [
            ("/v2/chat", "POST /v1/chat/completions"),
            ("/v2/rerank", "POST /v1/rerank"),
            ("/v2/embed", "POST /v1/embeddings"),
            ("/v2/keys", "/v2/api-keys"),
            ("/v2/nothing", "docs/api.md"),
        ] {
            let fault = unknown_path(&[], path);
            assert_eq!((fault.class, fault.code), (FaultClass::NotFound, "not_found"));
            assert!(fault.fix.as_deref().is_some_and(|fix| fix.contains(address)), "{path}: {fault:?}");
        }
    }

    #[test]
    fn whoever_takes_json_is_answered() {
        let takes = |accept: &[&'static str], gives_files| {
            let mut headers = HeaderMap::new();
            for value in accept {
                headers.append(header::ACCEPT, HeaderValue::from_static(value));
            }
            takes_an_answer(&headers, gives_files)
        };
        for fine in [
            &[][..],
            &["*/*"],
            &["text/html, application/*;q=0.8"],
            &["image/png", "Application/JSON"],
            &[""],
        ] {
            assert!(takes(fine, false), "{fine:?}");
        }
        assert!(takes(&["text/csv"], true));
        for none in [&["text/csv"][..], &["text/html"], &["application/xml, image/*"]] {
            assert!(!takes(none, false), "{none:?}");
        }
    }

    /// A body whose connection breaks.
    struct Broken;

    impl Body for Broken {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, std::io::Error>>> {
            std::task::Poll::Ready(Some(Err(std::io::ErrorKind::ConnectionReset.into())))
        }
    }

    #[tokio::test]
    async fn a_body_is_read_whole_or_refused() {
        let whole = http_body_util::Full::new(Bytes::from_static(b"{}"));
        assert_eq!(read_body(whole.clone(), 2).await.unwrap(), "{}");
        assert_eq!(read_body(whole, 1).await.unwrap_err().code, "body_too_large");
        assert_eq!(read_body(Broken, 2).await.unwrap_err().code, "body_cut");
    }
}
