//! What may not be sent to an account that several workspaces share: it holds objects of other
//! workspaces and the operator's own.

use decode::Call;
use dialects::{Objection, Reason, SharedAccount};
use domain::{Fault, FaultClass, Operation};
use operations::{Subject, purpose_of};
use plan::{Attempt, Seat};

/// Checks whether a request may go to this seat, as far as it names objects that are stored at the provider.
///
/// # Errors
/// The seat is shared; the fault says what the request names.
pub(crate) fn check(call: &Call, attempt: &Attempt, body: &[u8], is_spoken: bool) -> Result<(), Box<Fault>> {
    if !matches!(attempt.seat(), Seat::Managed(_)) {
        return Ok(());
    }
    let request = call.request();
    if let Some(file) = request.files.iter().find(|file| !file.is_exchanged) {
        return Err(refused(Objection { path: file.path.clone(), reason: Reason::Reference }));
    }
    if let Some(form) = request.form() {
        let is_upload = call.operation() == Operation::File && !call.may_be_pooled();
        if is_upload && may_be_of_batch(purpose_of(&form.boundary, body), call.upload().is_some()) {
            return Err(unread_requests());
        }
        let unknown = form.unknown.clone().filter(|_| is_spoken);
        return unknown.map_or(Ok(()), |path| Err(refused(Objection { path, reason: Reason::Unknown })));
    }
    let operation = call.operation();
    // Requests about stored objects, and the opening of a session, say nothing in a body.
    let is_new = call.spec().facts().subject == Subject::NewAnswer
        || operation == Operation::CachedContent && request.stored.is_none();
    if body.is_empty() || !is_new {
        return Ok(());
    }
    let is_exchanged = |path: &str| request.files.iter().any(|file| file.is_exchanged && file.path == path);
    let hosts = Hosts::of(attempt.provider(), attempt.base_url());
    let seat = SharedAccount {
        is_forwarded: is_spoken,
        is_exchanged: &is_exchanged,
        is_own_host: &|host| hosts.has(host),
    };
    let checked = dialects::check_shared(call.dialect().grammar(), operation, body, &seat);
    checked.map_err(|objection| refused(*objection))
}

/// Whether a file may be one of requests, which nobody has read: its purpose says so, or comes behind the part of it that was read.
fn may_be_of_batch(purpose: Option<&[u8]>, has_more: bool) -> bool {
    purpose.map_or(has_more, |purpose| purpose.trim_ascii().eq_ignore_ascii_case(b"batch"))
}

/// The same for an event of a session that is open on such a seat.
///
/// # Errors
/// The fault says what the event names.
pub(crate) fn check_shared_event(provider: &str, base_url: &str, event: &[u8]) -> Result<(), Box<Fault>> {
    let hosts = Hosts::of(provider, base_url);
    let seat =
        SharedAccount { is_forwarded: true, is_exchanged: &|_| false, is_own_host: &|host| hosts.has(host) };
    dialects::check_shared_event(event, &seat).map_err(|objection| refused(*objection))
}

/// The provider's own hosts: it may read addresses there with the rights of the account's owner.
struct Hosts<'a> {
    host: &'a str,
    stores: &'static [&'static str],
}

impl<'a> Hosts<'a> {
    fn of(provider: &str, base_url: &'a str) -> Self {
        let authority = base_url.split_once("://").map_or(base_url, |(_, rest)| rest);
        let authority = authority.split('/').next().unwrap_or_default();
        let host = authority.split(':').next().unwrap_or_default();
        Self { host, stores: providers::provider(provider).facts().storage_domains }
    }

    fn has(&self, host: &str) -> bool {
        let is_under = |store: &&str| {
            host.strip_suffix(*store).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        host.eq_ignore_ascii_case(self.host) || self.stores.iter().any(is_under)
    }
}

fn unread_requests() -> Box<Fault> {
    let message = "A managed account doesn't store a file whose \"purpose\" is batch, or stands behind the file, unless its requests were read before.";
    let fault = Fault::new(FaultClass::Unsupported, "field_behind_file", message).param("purpose");
    Box::new(fault.fix("Send purpose before the file, and name neither a model nor a provider beside it."))
}

fn refused(objection: Objection) -> Box<Fault> {
    let Objection { path, reason } = objection;
    let (code, what, fix) = match reason {
        Reason::Reference => (
            "kept_elsewhere",
            "refers to an object stored at the provider, which isn't available through a managed account shared by several workspaces.",
            "Send the content itself, use a file that this project uploaded here, continue a response with \
             previous_response_id, or use your own credential.",
        ),
        Reason::Address => (
            "kept_elsewhere",
            "refers to an address that can't be fetched through a managed account shared by several workspaces.",
            "Use a public https:// address outside the provider's own storage, send the content itself, or use your own credential.",
        ),
        Reason::Deferred => (
            "background_needs_own_credential",
            "asks for an answer to be fetched later, which a managed account doesn't support: its cost can't be reserved.",
            "Leave it out, or use your own credential.",
        ),
        Reason::Unknown => (
            "unknown_field",
            "is an unknown field, and a managed account shared by several workspaces accepts only known fields.",
            "Correct its name, leave it out, or use your own credential.",
        ),
        Reason::Unread => (
            "unreadable",
            "can't be fully parsed, which a managed account shared by several workspaces requires.",
            "Send it with fewer levels and members, or use your own credential.",
        ),
    };
    let subject = if path.is_empty() { "The request" } else { &path };
    let fault = Fault::new(FaultClass::Unsupported, code, format!("{subject} {what}")).fix(fix);
    Box::new(if path.is_empty() { fault } else { fault.param(path) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_nobody_read_are_not_for_a_shared_account() {
        let (batch, spaced, other): (&[u8], &[u8], &[u8]) = (b"batch", b" Batch\n", b"user_data");
        for (purpose, has_more, expected) in [
            (Some(batch), false, true),
            (Some(spaced), false, true),
            (Some(other), true, false),
            (None, true, true),
            (None, false, false),
        ] {
            assert_eq!(may_be_of_batch(purpose, has_more), expected, "{purpose:?} {has_more}");
        }
        assert_eq!(unread_requests().code, "field_behind_file");
    }

    #[test]
    fn a_providers_own_hosts_are_its_address_and_its_stores() {
        let hosts = Hosts { host: "api.example.com", stores: &["store.example"] };
        for (host, is_own) in [
            ("api.example.com", true),
            ("API.example.com", true),
            ("example.com", false),
            ("x.api.example.com", false),
            ("store.example", true),
            ("bucket.store.example", true),
            ("notstore.example", false),
            ("store.example.org", false),
            ("", false),
        ] {
            assert_eq!(hosts.has(host), is_own, "{host}");
        }
    }

    #[test]
    fn the_host_of_an_address_has_neither_port_nor_path() {
        for base_url in ["https://api.example.com", "https://api.example.com:8443/v1", "api.example.com/v1"] {
            assert_eq!(Hosts::of("openai", base_url).host, "api.example.com", "{base_url}");
        }
    }
}
