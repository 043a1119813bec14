//! Hints: what a client wishes of how its request is served. They may only tighten what routes and policies allow; what
//! can't be read or is not honoured is named, and the rest holds.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::limits::{HINT_NAME_CHARS_MAX, TAG_BYTES_MAX};
use crate::policy::{DataBoundary, PolicySpec, RegionPolicy};
use crate::profile::Profile;

const CLASS_WORDS: &str = "interactive, standard, background or batch";
const MILLISECONDS: &str = "a whole number of milliseconds, from 1";
const OBJECT: &str = "an object";

crate::words! {
    /// How much a request's client minds waiting. Records have it as its number.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
    pub enum QosClass by from_word {
        /// A person waits for the answer.
        Interactive = "interactive",
        Standard = "standard",
        /// Nobody waits for it.
        Background = "background",
        /// Nobody waits for it, and it is one of many.
        Batch = "batch",
    }
}

/// How late a request is refused under overload, from 0 (at once) to 255 (last).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority(pub u8);

impl Priority {
    /// Of a request of which nothing is stated.
    pub const STANDARD: Self = Self::of_class(QosClass::Standard);
    /// The highest that hints can state, unless the request's key has a higher one.
    const OF_HINTS: Self = Self::of_class(QosClass::Interactive);

    /// What a class is a word for.
    pub const fn of_class(class: QosClass) -> Self {
        match class {
            QosClass::Batch => Self(32),
            QosClass::Background => Self(64),
            QosClass::Standard => Self(128),
            QosClass::Interactive => Self(192),
        }
    }

    /// The priority of a request: what its hints state, within what its key allows. Without hints it is its key's.
    pub fn of(qos: &Qos, of_key: Option<u8>) -> Self {
        let of_key = of_key.map(Self);
        let stated = [qos.class.map(Self::of_class), qos.priority.map(Self)].into_iter().flatten().min();
        let most = of_key.unwrap_or(Self::OF_HINTS);
        stated.or(of_key).unwrap_or(Self::STANDARD).min(most)
    }

    /// The same within what a route allows.
    pub fn within(self, of_route: Option<u8>) -> Self {
        of_route.map_or(self, |most| self.min(Self(most)))
    }
}

/// The quality of service that a client wishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Qos {
    pub class: Option<QosClass>,
    /// The time within which the answer should start. It is measured and told, and nothing is cut for it.
    pub target_ttft_ms: Option<u64>,
    /// The time after which the request is ended.
    pub deadline_ms: Option<u64>,
    /// From 0, which is refused first under overload, to 255. With a class, the lower of both holds.
    pub priority: Option<u8>,
    /// Neither another profile nor another model nor an emergency account serves after a failure.
    pub forbids_degrading: bool,
}

impl Qos {
    /// Whether an answer that begins this long after its request came meets the target; `None` without one.
    pub fn meets_target(&self, elapsed_us: u64) -> Option<bool> {
        self.target_ttft_ms.map(|target_ms| elapsed_us <= target_ms.saturating_mul(1_000))
    }
}

/// The hints of one request that are honoured.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hints {
    /// Routes may match it.
    pub tag: Option<String>,
    pub qos: Qos,
    /// No earlier answer is given again, and this one is not kept.
    pub bypasses_reuse: bool,
    /// Profiles, regions and data boundary, beside those of the policies; `None` where they restrict nothing.
    pub placement: Option<Box<PolicySpec>>,
}

/// A field that has no effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver {
    /// Such as `qos.deadline_ms`.
    pub path: String,
    pub why: Why,
}

/// Why a field has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Hints have no such field.
    Unknown,
    /// It is known and valid, and nothing here heeds it.
    NotHonoured,
    /// Its value is not what it must be.
    Invalid(&'static str),
}

/// Hints as they were read, with the fields that have no effect.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(from = "Wire")]
pub struct ReadHints {
    pub hints: Hints,
    pub passed_over: Vec<PassedOver>,
}

/// A quality of service alone, as `qos` of hints.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(from = "QosWire")]
pub struct ReadQos {
    pub qos: Qos,
    pub passed_over: Vec<PassedOver>,
}

/// A value of the wanted type, or of another.
#[derive(Deserialize)]
#[serde(untagged)]
enum Lenient<T> {
    Valid(T),
    Other(IgnoredAny),
}

type Field<T> = Option<Lenient<T>>;
/// What is known by its name alone.
type Others = BTreeMap<String, IgnoredAny>;

#[derive(Deserialize)]
struct Wire {
    /// What people call stored hints.
    #[serde(rename = "name")]
    _name: Option<IgnoredAny>,
    tag: Field<String>,
    /// The class alone, as it was written before there was `qos`.
    priority: Field<String>,
    qos: Field<QosWire>,
    reuse: Field<ReuseWire>,
    routing: Field<RoutingWire>,
    state: Option<IgnoredAny>,
    session: Option<IgnoredAny>,
    safety: Option<IgnoredAny>,
    #[serde(flatten)]
    others: Others,
}

#[derive(Deserialize)]
struct QosWire {
    class: Field<String>,
    target_ttft_ms: Field<u64>,
    deadline_ms: Field<u64>,
    priority: Field<u8>,
    degrade_policy: Field<String>,
    #[serde(flatten)]
    others: Others,
}

#[derive(Deserialize)]
struct ReuseWire {
    preference: Field<String>,
    scope: Field<String>,
    retention_preference: Option<IgnoredAny>,
    #[serde(flatten)]
    others: Others,
}

#[derive(Deserialize)]
struct RoutingWire {
    region_policy: Field<String>,
    execution_profiles: Field<Vec<String>>,
    data_boundary: Field<String>,
    #[serde(flatten)]
    others: Others,
}

/// Collects the fields that have no effect.
#[derive(Default)]
struct Reader {
    passed_over: Vec<PassedOver>,
}

impl Reader {
    fn pass(&mut self, path: &str, why: Why) {
        self.passed_over.push(PassedOver { path: path.to_owned(), why });
    }

    /// The value of a field, if it is one; else the field is passed over.
    fn take<T, U>(
        &mut self,
        path: &str,
        field: Field<T>,
        must_be: &'static str,
        read: impl FnOnce(T) -> Option<U>,
    ) -> Option<U> {
        let value = match field? {
            Lenient::Valid(value) => read(value),
            Lenient::Other(_) => None,
        };
        if value.is_none() {
            self.pass(path, Why::Invalid(must_be));
        }
        value
    }

    fn ignore(&mut self, path: &str, field: Option<IgnoredAny>) {
        if field.is_some() {
            self.pass(path, Why::NotHonoured);
        }
    }

    fn unknown(&mut self, within: &str, others: Others) {
        for name in others.into_keys() {
            self.pass(&format!("{within}{}", printable(&name)), Why::Unknown);
        }
    }

    fn qos(&mut self, within: &str, wire: QosWire) -> Qos {
        let path = |name: &str| format!("{within}{name}");
        let class =
            self.take(&path("class"), wire.class, CLASS_WORDS, |word: String| QosClass::from_word(&word));
        let positive = |value: u64| (value > 0).then_some(value);
        let target_ttft_ms = self.take(&path("target_ttft_ms"), wire.target_ttft_ms, MILLISECONDS, positive);
        let deadline_ms = self.take(&path("deadline_ms"), wire.deadline_ms, MILLISECONDS, positive);
        let priority = self.take(&path("priority"), wire.priority, "a whole number from 0 to 255", Some);
        let forbids = self.take(
            &path("degrade_policy"),
            wire.degrade_policy,
            "forbid or allow_compatible_fallback",
            |word: String| match word.as_str() {
                "forbid" => Some(true),
                "allow_compatible_fallback" => Some(false),
                _ => None,
            },
        );
        self.unknown(within, wire.others);
        let forbids_degrading = forbids.unwrap_or_default();
        Qos { class, target_ttft_ms, deadline_ms, priority, forbids_degrading }
    }

    /// Whether reuse is bypassed.
    fn reuse(&mut self, wire: ReuseWire) -> bool {
        let (preference, scope) = ("reuse.preference", "reuse.scope");
        let wanted = self.take(preference, wire.preference, "bypass, allow or prefer", |word: String| {
            match word.as_str() {
                "bypass" => Some((true, true)),
                "allow" => Some((false, true)),
                // Nothing is reused more often for it.
                "prefer" => Some((false, false)),
                _ => None,
            }
        });
        let within =
            self.take(scope, wire.scope, "project, session or none", |word: String| match word.as_str() {
                "none" => Some((true, true)),
                "project" => Some((false, true)),
                "session" => Some((false, false)),
                _ => None,
            });
        for (path, read) in [(preference, wanted), (scope, within)] {
            if read.is_some_and(|(_, is_honoured)| !is_honoured) {
                self.pass(path, Why::NotHonoured);
            }
        }
        self.ignore("reuse.retention_preference", wire.retention_preference);
        self.unknown("reuse.", wire.others);
        [wanted, within].into_iter().flatten().any(|(bypasses, _)| bypasses)
    }

    fn routing(&mut self, wire: RoutingWire) -> Option<Box<PolicySpec>> {
        let region_policy = self.take(
            "routing.region_policy",
            wire.region_policy,
            "us_only, eu_only, global or any",
            |word: String| RegionPolicy::from_name(&word),
        );
        let data_boundary = self.take(
            "routing.data_boundary",
            wire.data_boundary,
            "project, no_openrouter or strict",
            |word: String| DataBoundary::from_name(&word),
        );
        let profiles = self.profiles(wire.execution_profiles);
        self.unknown("routing.", wire.others);
        let spec = PolicySpec {
            region_policy: region_policy.unwrap_or_default(),
            data_boundary: data_boundary.unwrap_or_default(),
            profiles,
            ..PolicySpec::default()
        };
        let restricts = spec.region_policy.is_restriction()
            || spec.data_boundary.forbids_emergency()
            || !spec.profiles.is_empty();
        restricts.then(|| Box::new(spec))
    }

    /// The known profiles; what is none of them is passed over and serves nothing.
    fn profiles(&mut self, field: Field<Vec<String>>) -> Vec<Profile> {
        let (path, must_be) =
            ("routing.execution_profiles", "a list of managed_provider, byok, subscription and byoc");
        let Some(names) = self.take(path, field, must_be, Some) else { return Vec::new() };
        let known: Vec<Profile> = names.iter().filter_map(|name| name.parse().ok()).collect();
        if known.len() < names.len() {
            self.pass(path, Why::Invalid(must_be));
        }
        known
    }
}

impl From<Wire> for ReadHints {
    fn from(wire: Wire) -> Self {
        let mut reader = Reader::default();
        let is_tag = |tag: &String| {
            !tag.is_empty() && tag.len() <= TAG_BYTES_MAX && !tag.chars().any(char::is_control)
        };
        let tag = reader.take("tag", wire.tag, "a short text without control characters", |tag: String| {
            Some(tag).filter(is_tag)
        });
        let class =
            reader.take("priority", wire.priority, CLASS_WORDS, |word: String| QosClass::from_word(&word));
        let mut qos = reader
            .take("qos", wire.qos, OBJECT, Some)
            .map(|wire| reader.qos("qos.", wire))
            .unwrap_or_default();
        qos.class = qos.class.or(class);
        let reuse = reader.take("reuse", wire.reuse, OBJECT, Some);
        let bypasses_reuse = reuse.is_some_and(|wire| reader.reuse(wire));
        let routing = reader.take("routing", wire.routing, OBJECT, Some);
        let placement = routing.and_then(|wire| reader.routing(wire));
        for (path, field) in [("state", wire.state), ("session", wire.session), ("safety", wire.safety)] {
            reader.ignore(path, field);
        }
        reader.unknown("", wire.others);
        Self { hints: Hints { tag, qos, bypasses_reuse, placement }, passed_over: reader.passed_over }
    }
}

impl From<QosWire> for ReadQos {
    fn from(wire: QosWire) -> Self {
        let mut reader = Reader::default();
        let qos = reader.qos("", wire);
        Self { qos, passed_over: reader.passed_over }
    }
}

/// A client's own name, as a header can hold it.
fn printable(name: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.');
    let letters = name.chars().take(HINT_NAME_CHARS_MAX);
    letters.map(|letter| if is_plain(letter) { letter } else { '?' }).collect()
}
