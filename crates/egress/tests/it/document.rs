//! Documents: what is fetched, what is refused, and that each redirect is checked again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use domain::FaultClass;
use egress::{DocumentLimits, fetch_document};
use http::StatusCode;

use crate::support::{Answer, Server, on_a_core, whole};

fn with_status(status: StatusCode, text: &str) -> Answer {
    let mut answer = whole(text);
    *answer.status_mut() = status;
    answer
}

fn with(mut answer: Answer, name: &'static str, value: &str) -> Answer {
    answer.headers_mut().insert(name, value.parse().unwrap());
    answer
}

fn redirect(to: &str) -> Answer {
    with(with_status(StatusCode::FOUND, ""), "location", to)
}

fn typed(text: &str, mime: &str) -> Answer {
    with(whole(text), "content-type", mime)
}

async fn server() -> Server {
    Server::plain(|request| {
        Box::pin(async move {
            match request.uri().path() {
                "/text" => typed("hello", "Text/Plain; charset=\"UTF-8\""),
                "/again" => redirect("/text"),
                "/loop" => redirect("/loop"),
                "/metadata" => redirect("http://169.254.169.254/latest/meta-data/"),
                "/inside" => redirect("http://10.0.0.1/"),
                "/file" => redirect("file:///etc/passwd"),
                "/lost" => with_status(StatusCode::FOUND, ""),
                "/large" => typed(&"x".repeat(2_000), "text/plain"),
                "/packed" => with(typed("????", "text/plain"), "content-encoding", "gzip"),
                "/never" => std::future::pending().await,
                _ => with_status(StatusCode::NOT_FOUND, "gone"),
            }
        })
    })
    .await
}

#[test]
fn documents_are_fetched_and_refused() {
    on_a_core(async {
        let server = server().await;
        let client = server.client();
        let time_max = Duration::from_millis(300);
        let limits = DocumentLimits { bytes_max: 1_000, time_max, ..DocumentLimits::default() };
        for path in ["/text", "/again", "/text#part"] {
            let document = fetch_document(&client, &server.url(path), limits).await.unwrap();
            assert_eq!((document.mime.as_str(), document.charset.as_deref()), ("text/plain", Some("utf-8")));
            assert_eq!(document.bytes, "hello");
        }
        let cases = [
            ("/loop", FaultClass::BadRequest, "document_unreachable"),
            ("/metadata", FaultClass::BadRequest, "document_refused"),
            ("/inside", FaultClass::BadRequest, "document_refused"),
            ("/file", FaultClass::BadRequest, "document_refused"),
            ("/lost", FaultClass::BadRequest, "document_unreachable"),
            ("/packed", FaultClass::BadRequest, "document_unreachable"),
            ("/missing", FaultClass::BadRequest, "document_unreachable"),
            ("/never", FaultClass::BadRequest, "document_unreachable"),
            ("/large", FaultClass::TooLarge, "document_too_large"),
        ];
        for (path, class, code) in cases {
            let fault = fetch_document(&client, &server.url(path), limits).await.expect_err(path);
            assert_eq!((fault.class, fault.code), (class, code), "{path}: {fault}");
            assert_eq!(fault.param.as_deref(), Some("input.document"), "{path}");
        }
    });
}

#[test]
fn without_the_operators_permission_the_loopback_is_not_asked() {
    on_a_core(async {
        let server = server().await;
        let client = egress::Client::new(Arc::new(egress::EgressSettings::default())).unwrap();
        for url in [server.url("/text"), format!("https://0x7f.1:{}/", server.address.port())] {
            let fault = fetch_document(&client, &url, DocumentLimits::default()).await.unwrap_err();
            assert_eq!(fault.code, "document_refused", "{url}");
        }
        assert_eq!(server.connections.load(Ordering::SeqCst), 0);
    });
}
