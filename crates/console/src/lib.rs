//! Serves the files of the console and of the documentation, which are embedded at compile time.

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

/// One file of the built console.
struct File {
    path: &'static str,
    /// Its ETag, quotes included.
    tag: &'static str,
    plain: &'static [u8],
    br: Option<&'static [u8]>,
    gz: Option<&'static [u8]>,
}

const FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/console_files.rs"));

/// The paths that answer with the page; the console's own router decides what to show.
pub const PAGES: &[&str] = &[
    "/sign-in",
    "/account",
    "/device",
    "/authorize",
    "/mcp-servers/authorized",
    "/requests",
    "/requests/{rest}",
    "/usage",
    "/upstreams",
    "/data-path",
    "/runs",
    "/runs/{rest}",
    "/batches",
    "/caches",
    "/diagnostics",
    "/models",
    "/models/{rest}",
    "/capabilities",
    "/playground",
    "/gallery",
    "/uploads",
    "/connect",
    "/keys",
    "/projects",
    "/projects/{rest}",
    "/credentials",
    "/credentials/{rest}",
    "/accounts",
    "/accounts/{rest}",
    "/nodes",
    "/nodes/{rest}",
    "/workers",
    "/data-planes",
    "/hardware",
    "/training",
    "/training/{rest}",
    "/routes",
    "/routes/{rest}",
    "/aliases",
    "/aliases/{rest}",
    "/policies",
    "/hints",
    "/agents",
    "/tools",
    "/flows",
    "/sessions",
    "/sessions/{rest}",
    "/budgets",
    "/limits",
    "/settings",
    "/commitments",
    "/billing",
    "/billing/{rest}",
    "/reconciliation",
    "/replays",
    "/alerts",
    "/webhooks",
    "/webhooks/{rest}",
    "/members",
    "/audit",
    "/purges",
    "/erasures",
    "/legal-holds",
    "/data-exports",
];

/// The paths of static files, among them the pages of the documentation.
pub const ASSETS: &[&str] =
    &["/assets/{rest}", "/favicon.svg", "/theme.js", "/docs", "/docs/", "/docs/{rest}"];

const PAGE: &str = "index.html";
/// Files with a content hash in their name.
const HASHED: &str = "assets/";

const UNBUILT: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Tidegate</title><h1>Tidegate is running</h1>\
    <p>This binary was compiled without its console. Run <code>scripts/console.sh</code>, which needs Node.js 20, and compile again. \
    The command line does all that the console does: <code>tidegate --help</code>.</p></html>";

/// The documentation's first page.
const MANUAL: &str = "docs";
const UNBUILT_MANUAL: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Tidegate</title><h1>No documentation here</h1>\
    <p>This binary was compiled without its documentation. Run <code>scripts/docs.sh</code>, and compile again.</p></html>";

/// Only what is listed: nothing from other origins, nothing inline, no framing. Strings become markup only
/// through the Trusted Types policy with which Svelte clones its own templates.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src blob:; connect-src 'self'; font-src 'self'; \
    object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
    trusted-types svelte-trusted-html";

/// Whether the client is a browser that opens a page.
pub fn wants_page(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    accepted.split(',').any(|kind| kind.split(';').next().is_some_and(|name| name.trim() == "text/html"))
}

/// The page, the same at every path of the console.
pub fn page(headers: &HeaderMap) -> Response<Bytes> {
    match FILES.iter().find(|file| file.path == PAGE) {
        Some(file) => answer(file, headers),
        None => {
            with_security_headers(plain(Bytes::from_static(UNBUILT.as_bytes()), "text/html; charset=utf-8"))
        }
    }
}

/// The page with a 404, for browsers at an unknown path: the console shows the error.
pub fn missing(headers: &HeaderMap) -> Response<Bytes> {
    let mut unconditional = headers.clone();
    unconditional.remove(header::IF_NONE_MATCH);
    let mut response = page(&unconditional);
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

/// A file of the console or of the documentation by its path, without the leading slash.
pub fn asset(path: &str, headers: &HeaderMap) -> Option<Response<Bytes>> {
    let path = path.trim_end_matches('/');
    let is_manual = path.split('/').next() == Some(MANUAL);
    // A page of the documentation has no ending in its address.
    let is_it = |file: &&File| {
        let name = file.path.strip_suffix(".html").filter(|_| is_manual).unwrap_or(file.path);
        file.path != PAGE && (file.path == path || name == path || (path == MANUAL && name == "docs/index"))
    };
    let found = FILES.iter().find(is_it).map(|file| answer(file, headers));
    if found.is_none() && path == MANUAL {
        let missing = plain(Bytes::from_static(UNBUILT_MANUAL.as_bytes()), "text/html; charset=utf-8");
        return Some(with_security_headers(missing));
    }
    found
}

fn answer(file: &File, headers: &HeaderMap) -> Response<Bytes> {
    let is_known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known == file.tag);
    let (bytes, encoding) = select_encoding(file, headers);
    let body = if is_known { Bytes::new() } else { Bytes::from_static(bytes) };
    let mut response = plain(body, media_type(file.path));
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else if let Some(encoding) = encoding {
        set(&mut response, header::CONTENT_ENCODING, encoding);
    }
    set(&mut response, header::VARY, "accept-encoding");
    set(&mut response, header::ETAG, file.tag);
    let is_hashed = file.path.starts_with(HASHED);
    let cache = if is_hashed { "public, max-age=31536000, immutable" } else { "no-cache" };
    set(&mut response, header::CACHE_CONTROL, cache);
    with_security_headers(response)
}

/// The smallest encoding that the client accepts.
fn select_encoding(file: &File, headers: &HeaderMap) -> (&'static [u8], Option<&'static str>) {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or("");
    let takes = |wanted: &str| {
        accepted.split(',').any(|one| {
            let mut parts = one.split(';').map(str::trim);
            parts.next() == Some(wanted) && !parts.any(|weight| weight == "q=0")
        })
    };
    match (file.br, file.gz) {
        (Some(br), _) if takes("br") => (br, Some("br")),
        (_, Some(gz)) if takes("gzip") => (gz, Some("gzip")),
        _ => (file.plain, None),
    }
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or("") {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "woff2" => "font/woff2",
        "json" => "application/json",
        _ => "application/octet-stream",
    }
}

fn plain(body: Bytes, media_type: &'static str) -> Response<Bytes> {
    let mut response = Response::new(body);
    set(&mut response, header::CONTENT_TYPE, media_type);
    response
}

fn with_security_headers(mut response: Response<Bytes>) -> Response<Bytes> {
    let guards: [(HeaderName, &'static str); 4] = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    for (name, value) in guards {
        set(&mut response, name, value);
    }
    response
}

fn set(response: &mut Response<Bytes>, name: HeaderName, value: &'static str) {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers_of(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    const FILE: File =
        File { path: "assets/a-1.js", tag: "\"1\"", plain: b"plain", br: Some(b"br"), gz: Some(b"gz") };

    #[test]
    fn a_page_is_for_those_who_ask_for_one() {
        assert!(wants_page(&headers_of(header::ACCEPT, "application/xhtml+xml,text/html;q=0.9")));
        assert!(!wants_page(&headers_of(header::ACCEPT, "*/*")));
        assert!(!wants_page(&HeaderMap::new()));
    }

    #[test]
    fn documentation_that_was_not_built_says_how() {
        let built = FILES.iter().any(|file| file.path == "docs/index.html");
        let answer = asset("docs", &HeaderMap::new()).unwrap();
        let text = String::from_utf8_lossy(answer.body()).into_owned();
        assert_eq!(!text.contains("scripts/docs.sh"), built, "{text}");
        assert_eq!(answer.headers()[header::CONTENT_SECURITY_POLICY], POLICY);
        assert!(asset("docs/no-such-page", &HeaderMap::new()).is_none());
        assert_eq!(asset("docs/quickstart", &HeaderMap::new()).is_some(), built);
        // The index of the search, the one large file of the documentation.
        let index = asset("docs/search.json", &headers_of(header::ACCEPT_ENCODING, "gzip"));
        assert_eq!(index.is_some_and(|index| index.headers()[header::CONTENT_ENCODING] == "gzip"), built);
    }

    #[test]
    fn a_file_comes_in_the_smallest_form_that_is_read() {
        let cases = [("gzip, br", "br"), ("gzip", "gz"), ("br;q=0, gzip", "gz"), ("identity", "plain")];
        for (accepted, expected) in cases {
            let answer = answer(&FILE, &headers_of(header::ACCEPT_ENCODING, accepted));
            assert_eq!(answer.body(), expected, "{accepted}");
            assert_eq!(answer.headers()[header::CACHE_CONTROL], "public, max-age=31536000, immutable");
        }
    }

    #[test]
    fn a_page_that_is_not_there_is_never_the_one_that_the_browser_has() {
        let known = FILES.iter().find(|file| file.path == PAGE).map_or("\"1\"", |file| file.tag);
        let answer = missing(&headers_of(header::IF_NONE_MATCH, known));
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
        assert!(!answer.body().is_empty());
    }

    #[test]
    fn a_known_file_is_not_sent_again() {
        let answer = answer(&FILE, &headers_of(header::IF_NONE_MATCH, "\"1\""));
        assert_eq!((answer.status(), answer.body().len()), (StatusCode::NOT_MODIFIED, 0));
    }

    #[test]
    fn every_answer_forbids_what_is_inline_foreign_or_framed() {
        let page = page(&HeaderMap::new());
        assert_eq!(page.headers()[header::X_FRAME_OPTIONS], "DENY");
        let policy = page.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"));
    }

    #[test]
    fn no_path_leads_out() {
        for path in ["", "index.html", "../Cargo.toml", "assets/", "assets/../index.html"] {
            assert!(asset(path, &HeaderMap::new()).is_none(), "{path}");
        }
    }
}
