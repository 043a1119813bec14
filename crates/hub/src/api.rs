//! The hub's HTTP API: the files of a repository at a revision, their checksums, and their content from an
//! offset on.

use std::future::Future;

use egress::{Answer, Client, EgressError, EgressErrorKind, Headers, Request, TargetKind};
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderName, RANGE, USER_AGENT};
use http::{HeaderValue, Method, StatusCode, Uri};
use serde::Deserialize;
use url::Url;

use crate::address::{Endpoint, Token};
use crate::choice::Listed;
use crate::digest::Checksum;
use crate::error::{HubError, HubErrorKind, Retry};
use crate::limits::{LIST_BYTES_MAX, LIST_FILES_MAX, REDIRECTS_MAX, RETRY_AFTER_MAX, SILENCE_MAX};
use crate::names::{Reference, is_plain};

/// A client for one repository of a hub.
pub(crate) struct Hub<'a> {
    pub client: &'a Client,
    pub endpoint: &'a Endpoint,
    pub token: Option<&'a Token>,
    pub model: &'a Reference,
}

/// A repository's files at one commit.
pub(crate) struct Listing {
    /// The commit, if the hub reports one; all further requests use it.
    pub revision: String,
    pub files: Vec<Listed>,
}

#[derive(Deserialize)]
struct ModelInfo {
    sha: Option<String>,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob_id: Option<String>,
    lfs: Option<Large>,
}

#[derive(Deserialize)]
struct Large {
    #[serde(alias = "oid")]
    sha256: Option<String>,
    size: Option<u64>,
}

impl Hub<'_> {
    /// # Errors
    /// The hub is unreachable, refuses, or its answer is not a list.
    pub(crate) async fn list(&self, revision: &str) -> Result<Listing, HubError> {
        let model = self.model.repository();
        let (owner, name) = model.split_once('/').unwrap_or_default();
        let mut url = self.endpoint.below(["api", "models", owner, name, "revision", revision]);
        url.set_query(Some("blobs=true"));
        let answer = self.follow(&Method::GET, url, 0).await?;
        if answer.status != StatusCode::OK {
            return Err(self.refusal(&answer, revision));
        }
        let body = within(answer.body.read_to_end(LIST_BYTES_MAX)).await?;
        let info: ModelInfo = serde_json::from_slice(&body)
            .map_err(|error| self.wrong(&format!("its list of files can't be read: {error}")))?;
        if info.siblings.len() > LIST_FILES_MAX {
            return Err(self.wrong(&format!("it lists more than {LIST_FILES_MAX} files")));
        }
        let revision = info.sha.unwrap_or_else(|| revision.to_owned());
        if !is_plain(&revision) {
            return Err(self.wrong("its commit has an invalid name"));
        }
        Ok(Listing { revision, files: info.siblings.into_iter().map(Sibling::into_listed).collect() })
    }

    /// Requests the size and checksum of a file that the list left out.
    ///
    /// # Errors
    /// The hub is unreachable, refuses, or does not report them here either.
    pub(crate) async fn complete(
        &self,
        revision: &str,
        file: Listed,
    ) -> Result<(Listed, u64, Checksum), HubError> {
        let mut file = file;
        if file.size.is_none() || file.checksum.is_none() {
            let answer = self.head(self.address(revision, &file.path)).await?;
            if !answer.status.is_success() && !answer.status.is_redirection() {
                return Err(self.refusal(&answer, revision));
            }
            let header = |name: &str| answer.headers.text(name);
            let size = header("x-linked-size")
                .or_else(|| header("content-length").filter(|_| answer.status.is_success()));
            file.size = file.size.or_else(|| size.and_then(|size| size.parse().ok()));
            let tag = header("x-linked-etag").or_else(|| header("etag"));
            file.checksum = file.checksum.or_else(|| tag.and_then(Checksum::read));
        }
        match (file.size, file.checksum.clone()) {
            (Some(size), Some(checksum)) if size <= file.bytes_max() => Ok((file, size, checksum)),
            (Some(size), Some(_)) => Err(self.wrong(&format!(
                "its {} has {size} bytes, and {} is the most",
                file.path,
                file.bytes_max()
            ))),
            _ => Err(self.wrong(&format!(
                "it does not say how long {} is and what it adds up to, so the download can't be verified",
                file.path
            ))),
        }
    }

    /// A file's content from an offset on. The answer says whether the hub honoured the offset.
    ///
    /// # Errors
    /// The hub is unreachable or refuses.
    pub(crate) async fn open(&self, revision: &str, path: &str, from: u64) -> Result<Answer, HubError> {
        let answer = self.follow(&Method::GET, self.address(revision, path), from).await?;
        match answer.status {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(answer),
            _ => Err(self.refusal(&answer, revision)),
        }
    }

    fn address(&self, revision: &str, path: &str) -> Url {
        let model = self.model.repository();
        let parts = model.split('/').chain(["resolve", revision]).chain(path.split('/'));
        self.endpoint.below(parts)
    }

    /// The hub's own headers for a file. A redirect to another host is not followed: the redirecting answer
    /// has the headers.
    async fn head(&self, mut url: Url) -> Result<Answer, HubError> {
        for _ in 0..=REDIRECTS_MAX {
            let answer = self.once(&Method::HEAD, &url, 0).await?;
            let next = answer.headers.text("location").and_then(|to| url.join(to).ok());
            match next.filter(|next| answer.status.is_redirection() && self.endpoint.is_own(next)) {
                Some(next) if answer.headers.get("x-linked-etag").is_none() => url = next,
                _ => return Ok(answer),
            }
        }
        Err(self.wrong(&format!("it redirects more than {REDIRECTS_MAX} times")))
    }

    async fn follow(&self, method: &Method, mut url: Url, from: u64) -> Result<Answer, HubError> {
        for _ in 0..=REDIRECTS_MAX {
            let answer = self.once(method, &url, from).await?;
            if !answer.status.is_redirection() {
                return Ok(answer);
            }
            let next = answer.headers.text("location").and_then(|to| url.join(to).ok());
            let next = next.ok_or_else(|| self.wrong("it redirects without saying where"))?;
            if url.scheme() == "https" && next.scheme() != "https" {
                return Err(self.wrong("it redirects from https to an address without it"));
            }
            url = next;
        }
        Err(self.wrong(&format!("it redirects more than {REDIRECTS_MAX} times")))
    }

    /// One request. The token is sent to the hub's own origin only, wherever a redirect leads.
    async fn once(&self, method: &Method, url: &Url, from: u64) -> Result<Answer, HubError> {
        let mut target = url.clone();
        target.set_fragment(None);
        let target =
            Uri::try_from(target.as_str()).map_err(|_| self.wrong("it redirects to an invalid address"))?;
        let mut request = Request::new(method.clone(), target);
        let fixed = |name: HeaderName, value| (name, HeaderValue::from_static(value));
        request.headers.push(fixed(USER_AGENT, concat!("tidegate/", env!("CARGO_PKG_VERSION"))));
        // A compressed body would not match the checksum.
        request.headers.push(fixed(ACCEPT_ENCODING, "identity"));
        if from > 0
            && let Ok(range) = HeaderValue::try_from(format!("bytes={from}-"))
        {
            request.headers.push((RANGE, range));
        }
        if let Some(token) = self.token.filter(|_| self.endpoint.is_own(url)) {
            request.headers.push((AUTHORIZATION, token.header()));
        }
        within(self.client.send(&request, TargetKind::System)).await
    }

    fn refusal(&self, answer: &Answer, revision: &str) -> HubError {
        let (model, hub) = (self.model.repository(), self.endpoint);
        let code = answer.headers.text("x-error-code").unwrap_or_default();
        let (kind, text) = match (answer.status.as_u16(), code, self.token.is_some()) {
            (401 | 403, "GatedRepo", true) => (
                HubErrorKind::Forbidden,
                format!(
                    "{model} is gated, and HF_TOKEN's owner has not been let in: accept its terms at {hub}/{model}."
                ),
            ),
            (401 | 403, "GatedRepo", false) => (
                HubErrorKind::Authentication,
                format!(
                    "{model} is gated: accept its terms at {hub}/{model}, then set HF_TOKEN to a token of yours."
                ),
            ),
            (404, "RevisionNotFound", _) => {
                (HubErrorKind::NotFound, format!("{model} has no revision {revision} at {hub}."))
            }
            (401, _, false) => (
                HubErrorKind::Authentication,
                format!(
                    "{hub} doesn't show {model} without a token: it is not there, or it is private and HF_TOKEN must be set."
                ),
            ),
            (401, _, true) => (
                HubErrorKind::Authentication,
                format!("{hub} does not take the token of HF_TOKEN for {model}. Make a new one there."),
            ),
            (403, ..) => {
                (HubErrorKind::Forbidden, format!("{hub} does not let this token or address read {model}."))
            }
            (404 | 410, ..) => {
                (HubErrorKind::NotFound, format!("{hub} has no {model}, or lacks the requested file of it."))
            }
            (429, ..) => {
                (HubErrorKind::RateLimited, format!("{hub} has rate limited this machine. Try again later."))
            }
            (status, ..) => (HubErrorKind::Unavailable, format!("{hub} answered {status} for {model}.")),
        };
        let error = HubError::new(kind, text);
        match answer.status.as_u16() {
            408 | 429 | 500..=599 => error.again(retry_after(&answer.headers)),
            _ => error,
        }
    }

    /// The error for an unusable answer.
    pub(crate) fn wrong(&self, why: &str) -> HubError {
        HubError::new(
            HubErrorKind::Refused,
            format!("What {} says of {} can't be used: {why}.", self.endpoint, self.model.repository()),
        )
    }
}

impl Sibling {
    fn into_listed(self) -> Listed {
        // A large file's blob is only the LFS pointer.
        let (size, digits) = match self.lfs {
            Some(large) => (large.size.or(self.size), large.sha256),
            None => (self.size, self.blob_id),
        };
        Listed { path: self.rfilename, size, checksum: digits.and_then(|digits| Checksum::read(&digits)) }
    }
}

fn retry_after(headers: &Headers) -> Retry {
    let seconds = headers.text("retry-after").and_then(|text| text.trim().parse().ok());
    seconds.map_or(Retry::Later, |seconds| {
        Retry::After(std::time::Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
    })
}

/// Waits for an answer or a piece of one, up to the longest accepted silence.
pub(crate) async fn within<T>(work: impl Future<Output = Result<T, EgressError>>) -> Result<T, HubError> {
    match tokio::time::timeout(SILENCE_MAX, work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(from_egress(&error)),
        Err(_) => Err(HubError::new(
            HubErrorKind::Unavailable,
            format!("The hub has been silent for {} s.", SILENCE_MAX.as_secs()),
        )
        .again(Retry::Later)),
    }
}

fn from_egress(error: &EgressError) -> HubError {
    match error.kind {
        EgressErrorKind::Guard => {
            HubError::new(HubErrorKind::Usage, format!("The hub can't be called: {error}"))
        }
        EgressErrorKind::Protocol | EgressErrorKind::Tls => {
            HubError::new(HubErrorKind::Unavailable, error.message.clone())
        }
        _ => HubError::new(HubErrorKind::Unavailable, error.message.clone()).again(Retry::Later),
    }
}
