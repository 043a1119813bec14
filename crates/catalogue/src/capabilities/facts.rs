//! The facts, each declared once: the form in the file, the form in memory, and what overrides what.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use toml::Spanned;

use super::kinds::{CacheIsolation, CacheKind, GrammarName, PurgeControl, Retention, ThinkingControl};
use super::stated::{Unknown, WrongStatement, stated};
use crate::error::CatalogueError;
use crate::source::{Source, UNVERIFIED};

/// One fact, with the place and day it was read; or marked as unverified, without a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fact<T> {
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<T>,
    source: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    checked: String,
}

impl<T> Fact<T> {
    pub(super) const fn new(value: Option<T>, source: String, checked: String) -> Self {
        Self { value, source, checked }
    }

    /// `None` if it is unverified.
    pub const fn value(&self) -> Option<&T> {
        self.value.as_ref()
    }

    /// Where it was read, or `unverified`.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The day it was read there, or empty.
    pub fn checked(&self) -> &str {
        &self.checked
    }
}

/// A fact as it is in the file: the source by its name in the file's list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FactRow<T> {
    value: Option<T>,
    source: String,
}

/// A place where facts were read.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reading {
    pub at: String,
    pub checked: String,
}

/// The sources of a file, and whether a fact refers to each.
pub struct Readings<'a> {
    pub source: Source<'a>,
    pub known: BTreeMap<String, (Reading, bool)>,
}

impl Readings<'_> {
    fn fact<T>(
        &mut self,
        owner: &str,
        name: &str,
        row: Spanned<FactRow<T>>,
    ) -> Result<Fact<T>, CatalogueError> {
        let span = row.span();
        let FactRow { value, source } = row.into_inner();
        let field = format!("{owner}, {name}");
        let unverified = source == UNVERIFIED;
        if unverified != value.is_none() {
            let message = "has a value and the source it was read at, or source = \"unverified\" alone";
            return Err(self.source.wrong(span, &field, message));
        }
        if unverified {
            return Ok(Fact { value, source, checked: String::new() });
        }
        let Some((reading, is_used)) = self.known.get_mut(&source) else {
            return Err(self.source.wrong(span, &field, &format!("no such source: \"{source}\"")));
        };
        *is_used = true;
        Ok(Fact { value, source: reading.at.clone(), checked: reading.checked.clone() })
    }
}

impl Facts {
    /// A share that is more than the whole, by its name.
    pub(super) fn wrong_share(&self) -> Option<&'static str> {
        let shares = [
            ("prompt_cache_discount_pct", &self.prompt_cache_discount_pct),
            ("batch_api_discount_pct", &self.batch_api_discount_pct),
        ];
        let is_wrong =
            |fact: &Option<Fact<u64>>| fact.as_ref().and_then(Fact::value).is_some_and(|share| *share > 100);
        shares.into_iter().find(|(_, fact)| is_wrong(fact)).map(|(name, _)| name)
    }
}

macro_rules! facts {
    ($($(#[$doc:meta])* $name:ident: $kind:ty,)+) => {
        /// The facts of a provider, or of some of its models where they differ.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
        pub struct Facts {
            $($(#[$doc])* #[serde(skip_serializing_if = "Option::is_none")] pub $name: Option<Fact<$kind>>,)+
        }

        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct FactRows {
            $($name: Option<Spanned<FactRow<$kind>>>,)+
        }

        impl FactRows {
            /// # Errors
            /// A fact names no source, or one that the file doesn't list.
            pub fn read(self, owner: &str, readings: &mut Readings<'_>) -> Result<Facts, CatalogueError> {
                Ok(Facts {
                    $($name: self.$name.map(|row| readings.fact(owner, stringify!($name), row)).transpose()?,)+
                })
            }
        }

        impl Facts {
            const NAMES: &[&str] = &[$(stringify!($name)),+];

            /// The facts that an operator states, by their names.
            ///
            /// # Errors
            /// One is none of ours, where that is no reason to ignore it, or has another form.
            pub(super) fn read_stated(
                facts: BTreeMap<String, Value>,
                day: &str,
                unknown: Unknown,
            ) -> Result<Self, WrongStatement> {
                let mut found = Self::default();
                for (name, value) in facts {
                    let wrong = match name.as_str() {
                        $(stringify!($name) => match stated(&name, value, day) {
                            Ok(fact) => {
                                found.$name = Some(fact);
                                continue;
                            }
                            Err(wrong) => wrong,
                        },)+
                        _ => WrongStatement::of_no_fact(&name, Self::NAMES),
                    };
                    if unknown == Unknown::Refused {
                        return Err(wrong);
                    }
                }
                Ok(found)
            }

            /// Whether none is set.
            pub fn is_empty(&self) -> bool {
                true $(&& self.$name.is_none())+
            }

            /// These facts, and for those that are unset the ones below them.
            pub fn over(&self, below: &Self) -> Self {
                Self { $($name: self.$name.as_ref().or(below.$name.as_ref()).cloned(),)+ }
            }

            /// The facts that are unset, not even marked as unverified.
            pub fn missing(&self) -> Vec<&'static str> {
                let known = [$((stringify!($name), self.$name.is_some()),)+];
                known.into_iter().filter(|(_, is_known)| !is_known).map(|(name, _)| name).collect()
            }

            /// Each fact that is set: its name, its source and day, and whether it has a value.
            pub fn readings(&self) -> Vec<(&'static str, &str, &str, bool)> {
                let mut all = Vec::new();
                $(if let Some(fact) = &self.$name {
                    all.push((stringify!($name), fact.source(), fact.checked(), fact.value().is_some()));
                })+
                all
            }
        }
    };
}

facts! {
    /// The dialects that are spoken natively, the preferred one first.
    grammars: Vec<GrammarName>,

    prompt_cache_supported: bool,
    prompt_cache_type: CacheKind,
    /// The shortest prefix that is cached.
    prompt_cache_min_tokens: u64,
    /// Longer prefixes are cached in steps of this many tokens.
    prompt_cache_step_tokens: u64,
    /// How much less a cached read costs than fresh input, in whole per cent.
    prompt_cache_discount_pct: u64,
    /// The cost of a cache write, in per cent of the input price, for the short lifetime and the long one.
    prompt_cache_write_pct: u64,
    prompt_cache_extended_write_pct: u64,
    prompt_cache_default_ttl_seconds: u64,
    prompt_cache_extended_ttl_seconds: u64,
    /// How many marks a request may have.
    prompt_cache_marks_max: u64,
    prompt_cache_isolation: CacheIsolation,
    /// The fields and headers that route a request to where its prompt is cached.
    prompt_cache_affinity: Vec<String>,
    cached_token_reporting: bool,
    manual_cache_clear_supported: bool,
    purge: PurgeControl,

    batch_api_supported: bool,
    batch_api_discount_pct: u64,
    batch_api_max_latency_seconds: u64,
    response_retrieval_supported: bool,
    conversation_state_supported: bool,
    background_mode_supported: bool,
    live_search_supported: bool,
    dedicated_deployment_available: bool,
    speculative_decoding_supported: bool,
    service_tiers: Vec<String>,
    data_retention_class: Retention,
    data_retention_days_max: u64,
    zero_retention_available: bool,
    region_support: Vec<String>,

    context_window_max_tokens: u64,
    multimodal_input_supported: bool,
    vision: bool,
    audio_input: bool,
    video_input: bool,
    documents: bool,
    structured_output: bool,
    parallel_tools: bool,
    /// A request may demand a tool call.
    forced_tools: bool,

    thinking: ThinkingControl,
    /// The accepted values of the reasoning effort.
    efforts: Vec<String>,
    /// A request may turn reasoning off.
    thinking_off: bool,
    /// Temperature and similar parameters are refused.
    refuses_sampling: bool,
    /// The answer's length is `max_tokens`, where the dialect has a newer name.
    old_length_name: bool,
    developer_role: bool,
    cache_marks: bool,
    /// An instruction may stand between other turns, under its own role.
    system_turns: bool,
}
