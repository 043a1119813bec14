//! What a node knows of its control plane while that is away: its certificate, until when it may serve on alone, and
//! the control plane's time.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::{Fault, FaultClass};
use proof::PublicKey;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::watch;
use world::World;

use super::Membership;
use crate::disk;
use crate::identity::NodeKey;
use crate::limits::{CLOCK_SKEW_NOTED_MS, HEARD_KEPT_EVERY_MS};

const FILE: &str = "certificate.json";
const OBJECT: &str = "node_certificate";

/// The state that outlives the process.
#[derive(Default, Serialize, Deserialize)]
struct Kept {
    /// The key of the control plane, if joining did not name it.
    control_key: Option<PublicKey>,
    certificate: Option<Map<String, Value>>,
    /// The control plane's time in its last answer: no later estimate lies before it.
    heard_unix_ms: u64,
    /// How far this machine's clock is ahead.
    clock_skew_ms: i64,
}

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Certificate {
    object: String,
    node_id: String,
    node_key: PublicKey,
    issued_unix_ms: u64,
    expires_unix_ms: u64,
    serves_until_unix_ms: u64,
    /// The only models that the node may serve; null for all.
    models: Option<Vec<String>>,
}

struct State {
    kept: Kept,
    certificate: Option<Certificate>,
    /// The file says something that no control plane signed.
    is_forged: bool,
    is_skew_noted: bool,
}

/// A joined node's last signed policy. Times are the control plane's: they are counted on by this machine's monotonic
/// clock, so that setting its clock changes nothing.
pub struct Policy {
    path: PathBuf,
    world: World,
    node_id: String,
    node_key: PublicKey,
    control_key: Option<PublicKey>,
    state: Mutex<State>,
    /// The control plane's time less the monotonic time.
    offset_ms: AtomicI64,
    /// Zero without a certificate: then the node serves on, as it did before there were any.
    serves_until_unix_ms: AtomicU64,
    /// When the certificate was issued.
    issued: watch::Sender<u64>,
}

/// What `/v1/health` shows.
#[derive(Serialize)]
pub(crate) struct PolicyHealth {
    certificate_expires_unix_ms: Option<u64>,
    serves_until_unix_ms: Option<u64>,
    is_expired: bool,
    control_unix_ms: u64,
    clock_skew_ms: i64,
    is_clock_skewed: bool,
}

impl Policy {
    /// Reads the state of an earlier process.
    pub fn open(
        data_dir: &Path,
        membership: &Membership,
        key: &NodeKey,
        world: World,
    ) -> io::Result<std::sync::Arc<Self>> {
        let path = data_dir.join(FILE);
        let kept: Option<Kept> = match disk::read_json(&path) {
            Ok(kept) => Some(kept),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let wall_ms = i64::try_from(world.clock.unix_ms()).unwrap_or(i64::MAX);
        let kept = kept.unwrap_or_default();
        let estimate_ms = wall_ms.saturating_sub(kept.clock_skew_ms);
        let estimate_ms = estimate_ms.max(i64::try_from(kept.heard_unix_ms).unwrap_or(i64::MAX));
        let state = State { kept, certificate: None, is_forged: false, is_skew_noted: false };
        let policy = Self {
            path,
            node_id: membership.node_id.clone(),
            node_key: key.public_key(),
            control_key: membership.control_key,
            state: Mutex::new(state),
            offset_ms: AtomicI64::new(estimate_ms.saturating_sub(monotonic_ms(&world))),
            serves_until_unix_ms: AtomicU64::new(0),
            issued: watch::channel(0).0,
            world,
        };
        policy.take_up();
        Ok(std::sync::Arc::new(policy))
    }

    /// Takes up the certificate of the file.
    fn take_up(&self) {
        let mut state = self.state();
        let Some(document) = &state.kept.certificate else { return };
        match self.read_certificate(document, self.control_key.or(state.kept.control_key)) {
            Ok((certificate, _)) => self.put_in_force(&mut state, certificate),
            Err(why) => {
                tracing::warn!(%why, path = %self.path.display(), "the certificate is not used; the control plane is asked for another");
                // One of another node is from before it joined again.
                state.is_forged = why != OTHER_NODE;
                state.kept = Kept::default();
            }
        }
        if state.is_forged {
            self.serves_until_unix_ms.store(1, Ordering::Relaxed);
        }
    }

    fn put_in_force(&self, state: &mut State, certificate: Certificate) {
        self.serves_until_unix_ms.store(certificate.serves_until_unix_ms.max(1), Ordering::Relaxed);
        let issued_unix_ms = certificate.issued_unix_ms;
        state.certificate = Some(certificate);
        state.is_forged = false;
        self.issued.send_replace(issued_unix_ms);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who signed a certificate, if it is this node's.
    fn read_certificate(
        &self,
        document: &Map<String, Value>,
        trusted: Option<PublicKey>,
    ) -> Result<(Certificate, PublicKey), String> {
        let signer = proof::document::verify(document, trusted).map_err(|forged| forged.to_string())?;
        let certificate: Certificate =
            serde_json::from_value(Value::Object(document.clone())).map_err(|error| error.to_string())?;
        if certificate.object != OBJECT {
            return Err(format!("it is not a node's certificate, but \"{}\"", certificate.object));
        }
        if certificate.node_id != self.node_id || certificate.node_key != self.node_key {
            return Err(OTHER_NODE.to_owned());
        }
        Ok((certificate, signer))
    }

    /// The control plane's time, as estimated.
    pub(crate) fn control_unix_ms(&self) -> u64 {
        let estimate_ms = monotonic_ms(&self.world).saturating_add(self.offset_ms.load(Ordering::Relaxed));
        u64::try_from(estimate_ms).unwrap_or(0)
    }

    /// The control plane answered with its time, `round_trip_us` after the call. Returns how far this machine's clock
    /// is ahead.
    pub(crate) fn heard(&self, control_unix_ms: u64, round_trip_us: u64) -> i64 {
        let control_ms = i64::try_from(control_unix_ms).unwrap_or(i64::MAX);
        let control_ms = control_ms.saturating_add(i64::try_from(round_trip_us / 2_000).unwrap_or(0));
        self.offset_ms.store(control_ms.saturating_sub(monotonic_ms(&self.world)), Ordering::Relaxed);
        let wall_ms = i64::try_from(self.world.clock.unix_ms()).unwrap_or(i64::MAX);
        let skew_ms = wall_ms.saturating_sub(control_ms);
        let mut state = self.state();
        let is_skewed = skew_ms.unsigned_abs() > CLOCK_SKEW_NOTED_MS;
        if is_skewed && !state.is_skew_noted {
            tracing::warn!(
                skew_ms,
                "this machine's clock is not the control plane's; certificates are judged by the control plane's"
            );
        }
        state.is_skew_noted = is_skewed;
        let skew_moved = state.kept.clock_skew_ms.abs_diff(skew_ms) > CLOCK_SKEW_NOTED_MS / 10;
        if skew_moved || control_unix_ms >= state.kept.heard_unix_ms.saturating_add(HEARD_KEPT_EVERY_MS) {
            state.kept.clock_skew_ms = skew_ms;
            state.kept.heard_unix_ms = control_unix_ms;
            self.keep(&state);
        }
        skew_ms
    }

    fn keep(&self, state: &State) {
        if let Err(error) = disk::write_json(&self.path, &state.kept) {
            tracing::warn!(%error, path = %self.path.display(), "the control plane's message can't be stored");
        }
    }

    /// Whether half the life of the certificate or of the policy is over, or there is none.
    pub(crate) fn is_renewal_due(&self) -> bool {
        let now = self.control_unix_ms();
        self.state().certificate.as_ref().is_none_or(|certificate| {
            let Certificate { issued_unix_ms, expires_unix_ms, serves_until_unix_ms, .. } = *certificate;
            let ends_unix_ms = expires_unix_ms.min(serves_until_unix_ms);
            now >= issued_unix_ms.saturating_add(ends_unix_ms.saturating_sub(issued_unix_ms) / 2)
        })
    }

    /// Takes up a certificate that the control plane gave.
    pub(crate) fn accept(&self, document: Map<String, Value>) -> Result<(), String> {
        let mut state = self.state();
        let trusted = self.control_key.or(state.kept.control_key);
        let (certificate, signer) = self.read_certificate(&document, trusted)?;
        state.kept.control_key = Some(signer);
        state.kept.certificate = Some(document);
        self.keep(&state);
        self.put_in_force(&mut state, certificate);
        Ok(())
    }

    /// The certificate as it is shown to others.
    pub(crate) fn certificate(&self) -> Option<Map<String, Value>> {
        self.state().kept.certificate.clone()
    }

    /// Changes with each new certificate; zero before the first.
    pub(crate) fn issued(&self) -> watch::Receiver<u64> {
        self.issued.subscribe()
    }

    fn is_expired(&self) -> bool {
        let serves_until = self.serves_until_unix_ms.load(Ordering::Relaxed);
        serves_until != 0 && self.control_unix_ms() >= serves_until
    }

    /// # Errors
    /// 503 once the node has served on alone for as long as it may.
    pub(crate) fn check(&self) -> Result<(), Box<Fault>> {
        if self.is_expired() {
            let message =
                "This node has not heard from its control plane for longer than it may serve without it.";
            return Err(Box::new(
                Fault::new(FaultClass::Unavailable, "policy_expired", message)
                    .fix("Restore the connection to the control plane; `GET /v1/health` shows since when it is missing."),
            ));
        }
        Ok(())
    }

    /// # Errors
    /// 403 for a model that the node's owner did not declare.
    pub(crate) fn check_model(&self, model: &str) -> Result<(), Box<Fault>> {
        let state = self.state();
        let declared = state.certificate.as_ref().and_then(|certificate| certificate.models.as_ref());
        if declared.is_some_and(|declared| !declares(declared, model)) {
            let message = "The owner of this node has not declared this model at the control plane.";
            return Err(Box::new(
                Fault::new(FaultClass::Forbidden, "model_not_declared", message).param("model").fix(
                    "Declare it with `tidegate nodes set NODE --model …`, or declare none, which allows all.",
                ),
            ));
        }
        Ok(())
    }

    pub(crate) fn health(&self) -> PolicyHealth {
        let (is_expired, control_unix_ms) = (self.is_expired(), self.control_unix_ms());
        let state = self.state();
        let certificate = state.certificate.as_ref();
        PolicyHealth {
            certificate_expires_unix_ms: certificate.map(|certificate| certificate.expires_unix_ms),
            serves_until_unix_ms: certificate.map(|certificate| certificate.serves_until_unix_ms),
            is_expired,
            control_unix_ms,
            clock_skew_ms: state.kept.clock_skew_ms,
            is_clock_skewed: state.kept.clock_skew_ms.unsigned_abs() > CLOCK_SKEW_NOTED_MS,
        }
    }
}

/// A model is declared with all its adapters.
fn declares(declared: &[String], model: &str) -> bool {
    let base = model.split_once(':').map_or(model, |(base, _)| base);
    declared.iter().any(|name| name == model || name == base)
}

const OTHER_NODE: &str = "it is of another node, or of another key";

fn monotonic_ms(world: &World) -> i64 {
    i64::try_from(world.clock.monotonic_us() / 1_000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proof::SigningKey;
    use serde_json::json;
    use world::ManualClock;

    use super::*;

    const DAY_MS: u64 = 86_400_000;
    /// The control plane's time when the tests begin; this machine is an hour ahead.
    const CONTROL_MS: u64 = 1_000 * DAY_MS;
    const AHEAD_MS: u64 = 3_600_000;

    struct Fixture {
        dir: tempfile::TempDir,
        clock: Arc<ManualClock>,
        key: NodeKey,
        signer: SigningKey,
    }

    impl Fixture {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let key = NodeKey::open_or_create(dir.path()).unwrap();
            let clock = Arc::new(ManualClock::at(CONTROL_MS + AHEAD_MS));
            Self { dir, clock, key, signer: SigningKey::from_seed(&[7; 32]).unwrap() }
        }

        fn open(&self) -> Arc<Policy> {
            let membership = Membership {
                control: "https://gateway.example".into(),
                node_id: "nod_1".into(),
                name: "attic".into(),
                credential: "tgn_1".into(),
                control_key: Some(self.signer.public()),
                tunnel: false,
            };
            let world = World { clock: Arc::<ManualClock>::clone(&self.clock) as _, ..World::system() };
            Policy::open(self.dir.path(), &membership, &self.key, world).unwrap()
        }

        fn certificate(
            &self,
            signer: &SigningKey,
            issued_unix_ms: u64,
            models: &Value,
        ) -> Map<String, Value> {
            let Value::Object(document) = json!({
                "object": OBJECT, "node_id": "nod_1", "node_key": self.key.public_key().to_string(),
                "issued_unix_ms": issued_unix_ms, "expires_unix_ms": issued_unix_ms + DAY_MS,
                "serves_until_unix_ms": issued_unix_ms + 7 * DAY_MS, "models": models,
            }) else {
                unreachable!()
            };
            proof::document::sign(document, signer).unwrap()
        }

        fn pass(&self, ms: u64) {
            self.clock.advance_us(ms * 1_000);
        }
    }

    fn code(policy: &Policy) -> Option<&'static str> {
        policy.check().err().map(|fault| fault.code)
    }

    #[test]
    fn it_serves_on_alone_until_its_policy_expires_and_again_once_it_has_heard() {
        let fixture = Fixture::new();
        let policy = fixture.open();
        assert_eq!(code(&policy), None, "without a certificate nothing is refused");
        assert_eq!(policy.heard(CONTROL_MS, 0), i64::try_from(AHEAD_MS).unwrap());
        policy.accept(fixture.certificate(&fixture.signer, CONTROL_MS, &Value::Null)).unwrap();
        fixture.pass(7 * DAY_MS - 1);
        assert_eq!(code(&policy), None);
        fixture.pass(1);
        assert_eq!(code(&policy), Some("policy_expired"));
        assert_eq!(policy.check().unwrap_err().class, FaultClass::Unavailable);
        policy.accept(fixture.certificate(&fixture.signer, CONTROL_MS + 7 * DAY_MS, &Value::Null)).unwrap();
        assert_eq!(code(&policy), None);
    }

    #[test]
    fn a_clock_that_is_set_back_gives_no_time() {
        let fixture = Fixture::new();
        let policy = fixture.open();
        policy.heard(CONTROL_MS, 0);
        policy.accept(fixture.certificate(&fixture.signer, CONTROL_MS, &Value::Null)).unwrap();
        fixture.pass(8 * DAY_MS);
        fixture.clock.set_unix_ms(CONTROL_MS);
        assert_eq!(code(&policy), Some("policy_expired"), "this process counts by the monotonic clock");
        policy.heard(CONTROL_MS + 8 * DAY_MS, 0);
        fixture.clock.set_unix_ms(CONTROL_MS);
        assert_eq!(
            code(&fixture.open()),
            Some("policy_expired"),
            "and the next begins where this one heard last"
        );
    }

    #[test]
    fn an_hour_of_skew_is_shown_and_moves_no_deadline() {
        let fixture = Fixture::new();
        let policy = fixture.open();
        policy.heard(CONTROL_MS, 20_000);
        let health = policy.health();
        assert_eq!((health.clock_skew_ms, health.is_clock_skewed), (3_599_990, true));
        assert_eq!(health.control_unix_ms, CONTROL_MS + 10, "half the round trip is added");
        assert!(policy.is_renewal_due());
        policy.accept(fixture.certificate(&fixture.signer, CONTROL_MS, &Value::Null)).unwrap();
        assert!(!policy.is_renewal_due());
        fixture.pass(DAY_MS / 2);
        assert!(policy.is_renewal_due());
        let later = fixture.open();
        assert_eq!(later.control_unix_ms(), CONTROL_MS + DAY_MS / 2 + 10, "a restart knows the skew");
        assert_eq!(later.certificate(), policy.certificate());
    }

    #[test]
    fn only_what_its_control_plane_signed_for_it_is_taken() {
        let fixture = Fixture::new();
        let policy = fixture.open();
        let other = SigningKey::from_seed(&[8; 32]).unwrap();
        let stranger = fixture.certificate(&other, CONTROL_MS, &Value::Null);
        assert!(policy.accept(stranger).unwrap_err().contains("the trusted one is"));
        let mut longer = fixture.certificate(&fixture.signer, CONTROL_MS, &Value::Null);
        longer.insert("serves_until_unix_ms".into(), u64::MAX.into());
        assert!(policy.accept(longer.clone()).unwrap_err().contains("was changed"));
        let mut elsewhere = fixture.certificate(&fixture.signer, CONTROL_MS, &Value::Null);
        elsewhere.insert("node_id".into(), "nod_2".into());
        let elsewhere = proof::document::sign(elsewhere, &fixture.signer).unwrap();
        assert_eq!(policy.accept(elsewhere), Err(OTHER_NODE.to_owned()));
        let kept =
            json!({"control_key": null, "certificate": longer, "heard_unix_ms": 0, "clock_skew_ms": 0});
        std::fs::write(fixture.dir.path().join(FILE), kept.to_string()).unwrap();
        assert_eq!(code(&fixture.open()), Some("policy_expired"), "a file that was changed gives no time");
    }

    #[test]
    fn only_declared_models_are_served() {
        let fixture = Fixture::new();
        let policy = fixture.open();
        assert!(policy.check_model("acme/other").is_ok());
        policy.accept(fixture.certificate(&fixture.signer, CONTROL_MS, &json!(["acme/small"]))).unwrap();
        assert!(policy.check_model("acme/small").is_ok());
        assert_eq!(policy.check_model("acme/other").unwrap_err().code, "model_not_declared");
    }
}
