//! What a service that starts workers says by itself: calls that are signed with a secret of the worker's, each taken once.

use std::slice;

use domain::{Fault, FaultClass, Secret};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::limits::{
    CALLBACK_BYTES_MAX, CALLBACK_ID_BYTES_MAX, CALLBACK_SKEW_MAX, CALLBACKS_MAX, MESSAGE_CHARS_MAX,
    SERVICE_STEPS_MAX, STEP_NAME_CHARS_MAX,
};
use crate::provider::hide;
use crate::record::{Heard, State, Step, StepState, Worker};
use crate::spec::{Rate, invalid};
use crate::webhook::{ID, SIGNATURE, TIMESTAMP};

/// The answer to a call.
#[derive(Debug, Serialize)]
pub struct CallbackTaken {
    object: &'static str,
    id: String,
    status: State,
    /// It was taken before: nothing has changed.
    pub(crate) repeated: bool,
}

/// The headers of a signed call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signed<'h> {
    id: &'h str,
    unix_s: u64,
    signatures: &'h str,
}

/// What a callback reports of its worker. Each part may be left out.
#[derive(Debug, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stated {
    status: Option<StatedStatus>,
    /// Why it failed.
    message: Option<String>,
    address: Option<String>,
    nano_usd_per_hour: Option<u64>,
    step: Option<StatedStep>,
    /// Lines for its log.
    pub log: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StatedStatus {
    Starting,
    Running,
    Failed,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StatedStep {
    name: String,
    status: StepState,
    message: Option<String>,
}

/// Also where there is no such worker, so that nobody finds out which there are.
pub(crate) fn unsigned() -> Box<Fault> {
    let message = "The call is not signed with the secret of this worker.";
    let fault = Fault::new(FaultClass::Unauthenticated, "invalid_signature", message);
    Box::new(fault.fix("Sign it according to Standard Webhooks, with callback.secret of the order."))
}

impl CallbackTaken {
    pub(crate) fn of(worker: &Worker, repeated: bool) -> Self {
        Self { object: "worker_callback", id: worker.id.clone(), status: worker.state, repeated }
    }
}

impl<'h> Signed<'h> {
    /// Reads the headers, and checks what can be checked before the body is read.
    ///
    /// # Errors
    /// One is missing or malformed, the time is too far off, or the body would be too long.
    pub(crate) fn read(headers: &'h HeaderMap, now_unix_s: u64) -> Result<Self, Box<Fault>> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let (Some(id), Some(unix_s), Some(signatures)) = (text(ID), text(TIMESTAMP), text(SIGNATURE)) else {
            return Err(unsigned());
        };
        let is_id = id.len() <= CALLBACK_ID_BYTES_MAX && id.bytes().all(|byte| byte.is_ascii_graphic());
        let unix_s: u64 = unix_s.parse().map_err(|_| unsigned())?;
        if !is_id || id.is_empty() {
            return Err(unsigned());
        }
        if unix_s.abs_diff(now_unix_s) > CALLBACK_SKEW_MAX.as_secs() {
            let message = "The webhook-timestamp is more than five minutes from the node's time.";
            let fault = Fault::new(FaultClass::Unauthenticated, "signature_expired", message);
            return Err(Box::new(fault.fix("Set the clock, and sign each call when it is sent.")));
        }
        // The caller is not authenticated yet: only a short body is read.
        let length = text(CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok());
        if length.is_none_or(|length| length > CALLBACK_BYTES_MAX) {
            let message = format!("A callback must state its length, at most {CALLBACK_BYTES_MAX} bytes.");
            let fault = Fault::new(FaultClass::TooLarge, "body_too_large", message);
            return Err(Box::new(fault.fix("Send Content-Length, and long logs in several calls.")));
        }
        Ok(Self { id, unix_s, signatures })
    }

    pub(crate) fn is_of(&self, secret: &Secret, body: &[u8]) -> bool {
        let expected = vault::webhook_signatures(slice::from_ref(secret), self.id, self.unix_s, body);
        let is_expected = |signature: &str| signature.as_bytes().ct_eq(expected.as_bytes()).into();
        self.signatures.split(' ').any(is_expected)
    }
}

impl Stated {
    /// # Errors
    /// The body is malformed.
    pub(crate) fn read(body: &[u8]) -> Result<Self, Box<Fault>> {
        serde_json::from_slice(body).map_err(|error| {
            let message = format!("The body can't be read: {error}.");
            invalid("status", message, "Send status, message, address, nano_usd_per_hour, step or log.")
        })
    }

    /// Changes the worker, unless the call was taken before; returns whether it was.
    ///
    /// # Errors
    /// Too many calls have come.
    pub(crate) fn apply(
        &self,
        worker: &mut Worker,
        signed: Signed<'_>,
        now_unix_ms: u64,
        secrets: &[(String, Secret)],
    ) -> Result<bool, Box<Fault>> {
        let now_unix_s = now_unix_ms / 1_000;
        // An older call is refused for its time.
        worker.heard.retain(|heard| heard.unix_s.abs_diff(now_unix_s) <= CALLBACK_SKEW_MAX.as_secs());
        if worker.heard.iter().any(|heard| heard.id == signed.id) {
            return Ok(true);
        }
        if worker.heard.len() >= CALLBACKS_MAX {
            let message = format!("This worker sent {CALLBACKS_MAX} callbacks within minutes.");
            let fault = Fault::new(FaultClass::Limited, "too_many_attempts", message);
            return Err(Box::new(fault.fix("Send fewer, each with more lines of the log.")));
        }
        worker.heard.push(Heard { id: signed.id.to_owned(), unix_s: signed.unix_s });
        if let Some(step) = &self.step {
            step.apply(worker, now_unix_ms, secrets);
        }
        if worker.is_ended() {
            return Ok(false);
        }
        if let Some(address) = &self.address {
            worker.address = Some(address.clone());
        }
        worker.rate = worker.rate.or_else(|| Rate::of_provider(self.nano_usd_per_hour));
        // That it runs is for its node to show, which is asked at once.
        if self.status == Some(StatedStatus::Failed) {
            let why = self.message.clone().unwrap_or_else(|| "The webhook says that it failed.".to_owned());
            worker.fail(&hide(why, secrets), now_unix_ms);
        }
        Ok(false)
    }
}

impl StatedStep {
    fn apply(&self, worker: &mut Worker, now_unix_ms: u64, secrets: &[(String, Secret)]) {
        let cut = |text: &str, most: usize| hide(text.to_owned(), secrets).chars().take(most).collect();
        let name: String = cut(&self.name, STEP_NAME_CHARS_MAX);
        let known = worker.steps.iter().filter(|step| step.by_service).count();
        let is_it = |step: &Step| step.by_service && step.name == name;
        if known < SERVICE_STEPS_MAX && !worker.steps.iter().any(is_it) {
            worker.steps.push(Step::of_service(name.clone(), now_unix_ms));
        }
        let Some(step) = worker.steps.iter_mut().rfind(|step| is_it(step)) else { return };
        step.state = self.status;
        step.message = self.message.as_deref().map(|message| cut(message, MESSAGE_CHARS_MAX));
        step.ended_unix_ms = (self.status != StepState::Running).then_some(now_unix_ms);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn headers(id: &str, unix_s: u64, signature: &str, length: usize) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (ID, id),
            (TIMESTAMP, &unix_s.to_string()),
            (SIGNATURE, signature),
            (CONTENT_LENGTH, &length.to_string()),
        ] {
            headers.insert(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn code(headers: &HeaderMap) -> Result<(), &'static str> {
        Signed::read(headers, NOW).map(drop).map_err(|fault| fault.code)
    }

    #[test]
    fn a_call_is_signed_timely_and_short_before_anything_of_it_is_read() {
        assert_eq!(code(&headers("a", NOW - 300, "v1,x", 9)), Ok(()));
        assert_eq!(code(&headers("a", NOW + 301, "v1,x", 9)), Err("signature_expired"));
        assert_eq!(code(&headers("a", NOW - 301, "v1,x", 9)), Err("signature_expired"));
        assert_eq!(code(&headers("", NOW, "v1,x", 9)), Err("invalid_signature"));
        assert_eq!(
            code(&headers(&"a".repeat(CALLBACK_ID_BYTES_MAX + 1), NOW, "v1,x", 9)),
            Err("invalid_signature")
        );
        assert_eq!(code(&headers("a", NOW, "v1,x", CALLBACK_BYTES_MAX + 1)), Err("body_too_large"));
        let mut endless = headers("a", NOW, "v1,x", 9);
        endless.remove(CONTENT_LENGTH);
        assert_eq!(code(&endless), Err("body_too_large"));
        let mut unsigned = headers("a", NOW, "v1,x", 9);
        unsigned.remove(SIGNATURE);
        assert_eq!(code(&unsigned), Err("invalid_signature"));
    }

    #[test]
    fn a_signature_is_of_its_secret_its_id_its_time_and_its_body() {
        let secret = Secret::from_text("tide".to_owned());
        let signature = vault::webhook_signatures(slice::from_ref(&secret), "a", NOW, b"{}");
        let both = format!("v1,AAAA {signature}");
        for (id, unix_s, key, body, expected) in [
            ("a", NOW, "tide", &b"{}"[..], true),
            ("b", NOW, "tide", b"{}", false),
            ("a", NOW + 1, "tide", b"{}", false),
            ("a", NOW, "ebb", b"{}", false),
            ("a", NOW, "tide", b"{ }", false),
        ] {
            let headers = headers(id, unix_s, &both, body.len());
            let signed = Signed::read(&headers, NOW).unwrap();
            assert_eq!(signed.is_of(&Secret::from_text(key.to_owned()), body), expected, "{id} {key}");
        }
    }
}
