//! A failed attempt: what the client may read of it, and what the schedule and the board learn from it.

use board::Verdict;
use domain::{Fault, FaultClass, UpstreamReport, Usage};
use egress::{EgressError, EgressErrorKind};
use http::header::{HeaderName, HeaderValue};
use plan::Seat;
use providers::Classified;

/// The fault code for an address that egress never reaches.
pub(crate) const ADDRESS_REFUSED: &str = "upstream_address_refused";

/// The upstream headers that a client may see; almost always none, so that there is no room for more.
pub(crate) type ClientHeaders = Box<[(HeaderName, HeaderValue)]>;

/// What a failure class says about the credential that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthSignal {
    /// Our fault or our client's: nothing is learnt about the upstream.
    Nothing,
    /// It answered, and is healthy.
    Neutral,
    /// It is unhealthy: its breaker counts.
    Unhealthy,
    /// It rests for as long as the provider named.
    Cooldown,
    /// It is parked, with every model if the refusal is of the account, and probed once in a while.
    Park,
}

/// The table of lessons, by class.
pub const fn health_signal(class: FaultClass) -> HealthSignal {
    match class {
        FaultClass::UpstreamAuth | FaultClass::UpstreamQuota => HealthSignal::Park,
        FaultClass::RateLimit => HealthSignal::Cooldown,
        FaultClass::Overloaded | FaultClass::Timeout | FaultClass::Upstream | FaultClass::StreamBroken => {
            HealthSignal::Unhealthy
        }
        FaultClass::Cancelled | FaultClass::Deadline | FaultClass::Internal | FaultClass::Unavailable => {
            HealthSignal::Nothing
        }
        _ => HealthSignal::Neutral,
    }
}

/// One failed attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptFailure {
    pub fault: Box<Fault>,
    pub status: Option<u16>,
    /// What the upstream itself said about a retry.
    pub should_retry: Option<bool>,
    /// `false` where no byte of the request can have reached the upstream: it bills nothing.
    pub request_sent: bool,
    /// No connection to its host could be opened.
    pub is_unreachable: bool,
    /// A cached token was refused before it expired: another one is requested, and
    /// nothing is learnt about the secret.
    pub token_refused: bool,
    /// A cache by name that the gateway put into the request was refused: the request is sent whole, and
    /// nothing is learnt about the secret.
    pub context_refused: bool,
    /// The secret itself or the account behind it was refused, whatever the request:
    /// other models are not tried either.
    pub is_of_account: bool,
    /// The units that the upstream billed, in millionths, for a result that could not be fetched.
    pub billed: Option<u64>,
    /// What the upstream reported as used by an answer that can't be delivered.
    pub used: Option<Box<Usage>>,
    /// The headers of the refusal that a client may see.
    pub upstream_headers: Box<[(HeaderName, HeaderValue)]>,
}

impl AttemptFailure {
    pub fn new(fault: Fault) -> Self {
        Self::of_boxed(Box::new(fault))
    }

    pub(crate) fn of_boxed(fault: Box<Fault>) -> Self {
        Self {
            fault,
            status: None,
            should_retry: None,
            request_sent: true,
            is_unreachable: false,
            token_refused: false,
            context_refused: false,
            is_of_account: false,
            billed: None,
            used: None,
            upstream_headers: ClientHeaders::default(),
        }
    }

    /// A request that can't be sent from here, and can't be a moment later either.
    pub(crate) fn of_us(fault: Box<Fault>) -> Self {
        Self::of_boxed(fault).unsent().not_retryable()
    }

    pub const fn class(&self) -> FaultClass {
        self.fault.class
    }

    pub fn request_id(&self) -> Option<&str> {
        self.fault.upstream.as_ref().and_then(|report| report.request_id.as_deref())
    }

    /// Sets the fix, which depends on whose secret was refused.
    pub(crate) fn with_seat_fix(mut self, seat: &Seat) -> Self {
        if self.class() != FaultClass::UpstreamAuth {
            return self;
        }
        let fix = match seat {
            Seat::Byok(_) => return self,
            Seat::Managed(_) => "Ask the operator to rotate the account's secret and verify it.".to_owned(),
            Seat::Byoc(node) if node.sealed.is_none() => {
                format!(
                    "The node requires a key, but none is stored: set one with `tidegate nodes rotate {}`.",
                    node.id
                )
            }
            Seat::Byoc(node) => {
                format!("Set a key that the node accepts: `tidegate nodes rotate {}`.", node.id)
            }
        };
        self.fault = Box::new(self.fault.fix(fix));
        self
    }

    /// The failure as its client may read it. A node is called by its name. What an upstream says about an
    /// account that several workspaces share names the operator's organisation, projects and limits: nothing
    /// is passed on about the account itself, and such names are masked in the rest.
    pub(crate) fn redacted(mut self, seat: &Seat) -> Self {
        self = self.named(seat);
        let (Seat::Managed(_), Some(report)) = (seat, self.fault.upstream.as_deref()) else { return self };
        let Some(text) = report.message.as_deref().map(str::trim).filter(|text| !text.is_empty()) else {
            return self;
        };
        let class = self.class();
        let is_of_account = matches!(
            class,
            FaultClass::UpstreamAuth
                | FaultClass::UpstreamPermission
                | FaultClass::UpstreamNotFound
                | FaultClass::UpstreamQuota
                | FaultClass::RateLimit
        );
        let message = (!is_of_account).then(|| mask_names(text));
        if message.as_deref() == Some(text) {
            return self;
        }
        let is_quoted = self.fault.message.contains(text);
        let report = UpstreamReport { message, ..report.clone() };
        if is_quoted {
            self.fault.message = refusal(class, &report).message;
        }
        if is_of_account && class != FaultClass::UpstreamAuth {
            self.fault.fix = Some(words(class).2.into());
        }
        self.fault = Box::new(self.fault.upstream(report));
        self
    }

    /// Calls a node by its name; `byoc` tells its owner nothing.
    pub(crate) fn named(self, seat: &Seat) -> Self {
        match seat {
            Seat::Byoc(node) => self.naming(seat.provider(), &node.name),
            Seat::Byok(_) | Seat::Managed(_) => self,
        }
    }

    /// Puts the name of a node in place of the word that stands for all of them, at the beginning of the message.
    fn naming(mut self, word: &str, name: &str) -> Self {
        let rest = self.fault.message.strip_prefix(word).filter(|rest| rest.starts_with(' '));
        if let Some(message) = rest.map(|rest| format!("The node {name}{rest}")) {
            self.fault.message = message.into();
        }
        self
    }

    /// The fault for the client. A retry that is pointless for us is pointless for its SDK.
    pub(crate) fn into_client_fault(self) -> Box<Fault> {
        let mut fault = self.fault;
        fault.should_retry = fault.should_retry.or(self.should_retry);
        fault
    }

    pub(crate) fn unsent(mut self) -> Self {
        self.request_sent = false;
        self
    }

    /// Marks another attempt on the same seat as pointless.
    pub(crate) fn not_retryable(mut self) -> Self {
        self.should_retry = Some(false);
        self
    }

    /// What the board learns. A pause that the provider named is obeyed; for a limit without one,
    /// others are tried first for a moment.
    pub fn verdict(&self, now_us: u64) -> Option<Verdict> {
        if self.token_refused || self.context_refused {
            return None;
        }
        let named = self.fault.retry_after_ms;
        match health_signal(self.class()) {
            // A secret that we could not open was not refused by the upstream.
            HealthSignal::Park if !self.request_sent && self.class() == FaultClass::UpstreamAuth => None,
            HealthSignal::Park if self.is_of_account => Some(Verdict::Park { cause: self.class() }),
            HealthSignal::Park => Some(Verdict::ParkModel { cause: self.class() }),
            HealthSignal::Cooldown => Some(match named {
                Some(wait) => {
                    Verdict::Cooldown { until_us: now_us.saturating_add(wait.saturating_mul(1_000)) }
                }
                None => Verdict::Limited,
            }),
            HealthSignal::Unhealthy if self.is_unreachable => Some(Verdict::Unreachable),
            HealthSignal::Unhealthy => Some(Verdict::Unhealthy),
            HealthSignal::Neutral => Some(Verdict::Neutral),
            HealthSignal::Nothing => None,
        }
    }

    /// The upstream answered with an error.
    pub(crate) fn classified(classified: Classified, status: u16) -> Self {
        let Classified { class, mut report, retry_after_ms, should_retry, fix, is_of_account } = classified;
        drop_own_id(&mut report);
        let mut fault = refusal(class, &report);
        fault.fix = fix.map(std::borrow::Cow::Owned).or(fault.fix);
        fault.retry_after_ms = retry_after_ms;
        Self { status: Some(status), should_retry, is_of_account, ..Self::new(fault.upstream(report)) }
    }

    /// The connection to a provider or a node failed.
    pub(crate) fn at(error: &EgressError, slug: &str, seat: &Seat) -> Self {
        let mut failure = Self::egress(error, slug);
        if let (Seat::Byoc(node), true) = (seat, failure.is_unreachable) {
            failure.fault.message =
                format!("The node {} can't be reached: {}", node.name, error.message).into();
            let fix = format!("Start it, or see `tidegate nodes show {}`.", node.name);
            failure.fault.fix = Some(fix.into());
        }
        failure
    }

    /// The connection failed.
    pub(crate) fn egress(error: &EgressError, provider: &str) -> Self {
        let message = format!("{provider} could not be reached: {}", error.message);
        let (class, code) = match error.kind {
            EgressErrorKind::Guard => (FaultClass::Upstream, ADDRESS_REFUSED),
            EgressErrorKind::Dns | EgressErrorKind::Connect => (FaultClass::Upstream, "upstream_unreachable"),
            EgressErrorKind::Tls => (FaultClass::Upstream, "upstream_tls_failed"),
            EgressErrorKind::Timeout => (FaultClass::Timeout, "upstream_timeout"),
            EgressErrorKind::Reset
            | EgressErrorKind::Protocol
            | EgressErrorKind::Closed
            | EgressErrorKind::Body => (FaultClass::Upstream, "upstream_connection_broken"),
        };
        let fault = Fault::new(class, code, message).upstream(report_of(provider));
        let fault = match error.kind {
            EgressErrorKind::Guard => {
                fault.fix("Change the base URL, or have the operator allow its address.")
            }
            _ => {
                fault.fix("Send the request again; if it keeps failing, check the base URL and the provider.")
            }
        };
        let is_connecting = matches!(
            error.kind,
            EgressErrorKind::Dns | EgressErrorKind::Connect | EgressErrorKind::Tls | EgressErrorKind::Timeout
        );
        let is_unreachable = is_connecting && !error.request_sent;
        let failure = Self { request_sent: error.request_sent, is_unreachable, ..Self::new(fault) };
        match error.kind {
            // The same address is refused, and the same certificate wrong, a second later.
            EgressErrorKind::Guard | EgressErrorKind::Tls => failure.not_retryable(),
            _ => failure,
        }
    }

    /// An answer that can't be what was requested.
    pub(crate) fn broken(provider: &str, what: &str) -> Self {
        let message = format!("{provider} sent an unusable response: {what}.");
        let fault = Fault::new(FaultClass::StreamBroken, "upstream_answer_broken", message)
            .fix("Send the request again; if it keeps failing, report it to the provider.");
        Self::new(fault.upstream(report_of(provider)))
    }

    pub(crate) fn timeout(provider: &str, what: &str, seconds: u64) -> Self {
        let message = format!("{provider} {what} within {seconds} s.");
        let fault = Fault::new(FaultClass::Timeout, "upstream_timeout", message)
            .fix("Send the request again, ask for less output, or raise the timeout on the route.");
        Self::new(fault.upstream(report_of(provider)))
    }

    /// Another attempt answered first, and this one was cancelled.
    pub(crate) fn outrun() -> Self {
        Self::new(Fault::new(FaultClass::Cancelled, "client_cancelled", "Another attempt answered first."))
    }

    pub(crate) fn deadline() -> Self {
        let fault = Fault::new(
            FaultClass::Deadline,
            "deadline_exceeded",
            "The request was not finished before its deadline.",
        )
        .fix("Ask for less output, stream the answer, or raise deadline_ms in the hints or on the route.")
        .should_retry(false);
        Self::new(fault)
    }
}

/// How names of organisations, projects and accounts begin at their providers.
const NAMES: [&str; 10] =
    ["org-", "org_", "proj-", "proj_", "acc_", "acct_", "wrkspc_", "projects/", "accounts/", "arn:aws"];
/// Account numbers have this many digits, or more.
const ACCOUNT_DIGITS_MIN: usize = 12;

/// The message without names that identify the account.
fn mask_names(text: &str) -> String {
    let is_inside =
        |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '/' | ':' | '.');
    let mut output = String::with_capacity(text.len());
    for piece in text.split_inclusive(|letter: char| !is_inside(letter)) {
        let word = piece.trim_end_matches(|letter: char| !letter.is_ascii_alphanumeric());
        let is_number = word.len() >= ACCOUNT_DIGITS_MIN && word.bytes().all(|byte| byte.is_ascii_digit());
        if is_number || NAMES.iter().any(|name| word.contains(name)) {
            output.push_str("[redacted]");
            output.push_str(piece.get(word.len()..).unwrap_or_default());
        } else {
            output.push_str(piece)
        }
    }
    output
}

fn report_of(provider: &str) -> UpstreamReport {
    UpstreamReport { provider: provider.to_owned(), ..UpstreamReport::default() }
}

/// Drops the request id from the end of a message, where the report has it already: another gateway or a node
/// writes it there, and the client is told of it once.
fn drop_own_id(report: &mut UpstreamReport) {
    let (Some(text), Some(id)) = (&report.message, &report.request_id) else { return };
    if let Some(rest) = text.trim_end().strip_suffix(&format!(" (request id: {id})")) {
        report.message = Some(rest.to_owned());
    }
}

/// The message of a refusal: what the provider said, whose fault it is, what fixes it.
pub(crate) fn refusal(class: FaultClass, report: &UpstreamReport) -> Fault {
    let provider = if report.provider.is_empty() { "The provider" } else { &report.provider };
    let text = report.message.as_deref().map(str::trim).filter(|text| !text.is_empty());
    let (code, what, fix) = words(class);
    let message = match text {
        // The fix follows it in one line of text.
        Some(text) if text.ends_with(['.', '!', '?']) => format!("{provider} {what}: {text}"),
        Some(text) => format!("{provider} {what}: {text}."),
        None => format!("{provider} {what}."),
    };
    // An API says which model it lacks. A server without such a path sends no message that we read.
    let is_silent = class == FaultClass::UpstreamNotFound && text.is_none();
    let fix = if is_silent { NO_SUCH_ADDRESS } else { fix };
    let fault = Fault::new(class, code, message).fix(fix);
    match &report.param {
        Some(param) => fault.param(param.clone()),
        None => fault,
    }
}

const NO_SUCH_ADDRESS: &str = "Check the model's name and the base URL: it answered 404 without an API's message, and the base URLs of most \
                              servers end in /v1.";

const fn words(class: FaultClass) -> (&'static str, &'static str, &'static str) {
    match class {
        FaultClass::UpstreamAuth => (
            "upstream_auth_failed",
            "refused the credential",
            "Rotate the credential with a secret that the provider accepts, then verify it.",
        ),
        FaultClass::UpstreamPermission => (
            "upstream_permission_denied",
            "does not let this credential use the model",
            "Ask the provider for access to the model, or use another model or credential.",
        ),
        FaultClass::UpstreamNotFound => (
            "model_not_found",
            "does not know the model",
            "Check the model's name and that this account may use it.",
        ),
        FaultClass::UpstreamQuota => (
            "insufficient_quota",
            "reports that the account has no credit or quota left",
            "Top up the provider account, or add another credential.",
        ),
        FaultClass::RateLimit => (
            "rate_limit_exceeded",
            "reports that its rate limit is reached",
            "Send fewer requests, wait for the time in Retry-After, or add another credential.",
        ),
        FaultClass::Overloaded => ("server_is_overloaded", "is overloaded", "Send the request again later."),
        FaultClass::Timeout => ("upstream_timeout", "took too long", "Send the request again."),
        FaultClass::ContextLength => (
            "context_length_exceeded",
            "says that the prompt is longer than the model's context window",
            "Shorten the messages, or use a model with a larger context window.",
        ),
        FaultClass::ContentPolicy => (
            "content_filter",
            "refused the content",
            "Change the content; the provider's policy says what it refuses.",
        ),
        FaultClass::TooLarge => {
            ("request_too_large", "says that the request is too large", "Send a smaller request.")
        }
        FaultClass::Unsupported => (
            "unsupported_parameter",
            "does not support this request",
            "Leave the parameter out, or use a model that supports it.",
        ),
        FaultClass::BadRequest => (
            "upstream_bad_request",
            "rejected the request as invalid",
            "Correct the request as the provider's message says.",
        ),
        FaultClass::Conflict => ("conflict", "reports a conflict", "Send the request again."),
        FaultClass::StreamBroken => (
            "upstream_answer_broken",
            "ended its response early",
            "Send the request again; if it keeps failing, report it to the provider.",
        ),
        _ => (
            "upstream_error",
            "failed",
            "Send the request again; if it keeps failing, look at the provider's status page.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_404_without_a_message_points_at_the_address() {
        let report = |message: Option<&str>| UpstreamReport {
            provider: "myllm".to_owned(),
            message: message.map(str::to_owned),
            ..UpstreamReport::default()
        };
        for (message, names_address) in [(None, true), (Some(" "), true), (Some("No model x."), false)] {
            let fault = refusal(FaultClass::UpstreamNotFound, &report(message));
            let fix = fault.fix.as_deref().unwrap_or_default();
            assert_eq!(fix.contains("base URL") && fix.contains("/v1"), names_address, "{message:?}: {fix}");
        }
    }

    #[test]
    fn a_retry_that_the_provider_forbids_is_forbidden_to_the_client_too() {
        let failure = |should_retry| AttemptFailure {
            should_retry,
            ..AttemptFailure::new(Fault::new(FaultClass::RateLimit, "rate_limit_exceeded", "Text."))
        };
        for stated in [None, Some(false), Some(true)] {
            assert_eq!(failure(stated).into_client_fault().should_retry, stated);
        }
        let deadline = AttemptFailure { should_retry: Some(true), ..AttemptFailure::deadline() };
        assert_eq!(deadline.into_client_fault().should_retry, Some(false), "what we know ourselves wins");
        let wrong = AttemptFailure::classified(
            Classified {
                class: FaultClass::Upstream,
                report: UpstreamReport::default(),
                retry_after_ms: None,
                should_retry: Some(false),
                fix: None,
                is_of_account: false,
            },
            500,
        );
        assert_eq!(wrong.into_client_fault().should_retry, Some(false));
    }

    #[test]
    fn names_of_whose_account_it_is_are_masked() {
        for (text, expected) in [
            (
                "Limit reached for m in organization org-a1B2c3 on tokens.",
                "Limit reached for m in organization [redacted] on tokens.",
            ),
            ("The project `proj_abc` (org_1) may not.", "The project `[redacted]` ([redacted]) may not."),
            (
                "User: arn:aws:sts::123456789012:role/x is not authorized",
                "User: [redacted] is not authorized",
            ),
            ("Account 123456789012, call 555.", "Account [redacted], call 555."),
            (
                "Permission denied on resource projects/op-prod/locations/eu.",
                "Permission denied on resource [redacted].",
            ),
            ("The organism is organised.", "The organism is organised."),
            ("top_p must be below 1.", "top_p must be below 1."),
        ] {
            assert_eq!(mask_names(text), expected);
        }
    }

    #[test]
    fn what_the_provider_says_ends_like_a_sentence() {
        for (text, ends) in [
            ("No such key", "No such key."),
            ("No such key.", "No such key."),
            ("Why?", "Why?"),
            (" ", "the credential."),
        ] {
            let report = UpstreamReport { message: Some(text.into()), ..report_of("openai") };
            let message = refusal(FaultClass::UpstreamAuth, &report).message;
            assert!(message.ends_with(ends), "{message}");
        }
    }

    #[test]
    fn a_node_has_its_name_and_its_id_is_said_once() {
        let said = |id: &str| UpstreamReport {
            message: Some("Too hot. Send 0 to 2. (request id: trc_1)".into()),
            request_id: Some(id.into()),
            ..report_of("byoc")
        };
        let classified = |report| Classified {
            class: FaultClass::BadRequest,
            report,
            retry_after_ms: None,
            should_retry: None,
            fix: None,
            is_of_account: false,
        };
        let failure = AttemptFailure::classified(classified(said("trc_1")), 400).naming("byoc", "attic");
        let message = "The node attic rejected the request as invalid: Too hot. Send 0 to 2.";
        assert_eq!(failure.fault.message, message);
        let kept = failure.fault.message_without_content();
        assert!(!kept.contains("Too hot"), "{kept}");
        let other = AttemptFailure::classified(classified(said("trc_2")), 400).naming("byo", "attic");
        assert!(other.fault.message.starts_with("byoc rejected"), "{}", other.fault.message);
        assert!(other.fault.message.contains("trc_1"), "another id is kept: {}", other.fault.message);
    }

    #[test]
    fn a_forbidden_address_is_not_called_again() {
        let failure = |kind| AttemptFailure::egress(&EgressError::new(kind, "It is local."), "openai");
        let forbidden = failure(EgressErrorKind::Guard);
        assert_eq!((forbidden.fault.code, forbidden.should_retry), ("upstream_address_refused", Some(false)));
        let unreachable = failure(EgressErrorKind::Connect);
        assert_eq!((unreachable.fault.code, unreachable.should_retry), ("upstream_unreachable", None));
    }
}
