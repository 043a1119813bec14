//! `cachedContents`: prompts cached by name until they expire, each visible only to the key that created it.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use super::content::Content;
use super::error::ApiError;
use super::models::abilities;
use super::request::{GenerateRequest, Tool, ToolConfig};
use super::{prompt, turns};

const TTL: Duration = Duration::hours(1);
const DISPLAY_NAME_MAX: usize = 128;

/// The request to create or update a cached content.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Sent {
    pub(crate) name: Option<String>,
    pub(crate) display_name: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) contents: Vec<Content>,
    pub(crate) system_instruction: Option<Content>,
    pub(crate) tools: Vec<Tool>,
    pub(crate) tool_config: Option<ToolConfig>,
    ttl: Option<String>,
    expire_time: Option<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct Cached {
    name: String,
    owner: String,
    model: String,
    display_name: String,
    created: OffsetDateTime,
    updated: OffsetDateTime,
    expires: OffsetDateTime,
    pub(crate) tokens: u64,
    pub(crate) contents: Vec<Content>,
    pub(crate) system_instruction: Option<Content>,
    pub(crate) tools: Vec<Tool>,
    pub(crate) tool_config: Option<ToolConfig>,
}

/// A cached content as clients see it; its contents are never returned.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    name: String,
    model: String,
    display_name: String,
    create_time: String,
    update_time: String,
    expire_time: String,
    usage_metadata: Usage,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Usage {
    total_token_count: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct List {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cached_contents: Vec<Row>,
}

#[derive(Default)]
pub(crate) struct Caches {
    all: Mutex<BTreeMap<String, Cached>>,
    /// New ones are made, and not answered.
    pub(crate) are_unanswered: AtomicBool,
}

impl Caches {
    /// Creates a cached content, named by `number`; `model` is the request's model, which is served.
    pub(crate) fn create(&self, owner: &str, number: u64, model: &str, sent: Sent) -> Result<Row, ApiError> {
        if sent.contents.is_empty() && sent.system_instruction.is_none() && sent.tools.is_empty() {
            return Err(ApiError::invalid(
                "CachedContent must have contents, a system_instruction or tools.",
            ));
        }
        if !sent.contents.is_empty() {
            turns::check(&sent.contents)?;
        }
        turns::check_instruction(sent.system_instruction.as_ref())?;
        if sent.display_name.as_ref().is_some_and(|name| name.chars().count() > DISPLAY_NAME_MAX) {
            return Err(ApiError::invalid("The display_name must have 128 characters at most."));
        }
        let tokens =
            prompt::prefix(&sent.tools, sent.system_instruction.as_ref(), &sent.contents).prompt.tokens;
        let Some(tokens_min) = abilities(model).cache_tokens_min else {
            return Err(ApiError::not_found(format!(
                "models/{model} is not supported for createCachedContent."
            )));
        };
        if tokens < tokens_min {
            return Err(ApiError::invalid(format!(
                "Cached content is too small. total_token_count={tokens}, min_total_token_count={tokens_min}"
            )));
        }
        let now = OffsetDateTime::now_utc();
        let expires = expiry(&sent, now)?.unwrap_or(now + TTL);
        let cached = Cached {
            name: format!("cachedContents/emulator{number:016}"),
            owner: owner.to_owned(),
            model: model.to_owned(),
            display_name: sent.display_name.unwrap_or_default(),
            created: now,
            updated: now,
            expires,
            tokens,
            contents: sent.contents,
            system_instruction: sent.system_instruction,
            tools: sent.tools,
            tool_config: sent.tool_config,
        };
        let row = cached.row();
        self.all().insert(cached.name.clone(), cached);
        Ok(row)
    }

    pub(crate) fn get(&self, owner: &str, name: &str) -> Result<Cached, ApiError> {
        let now = OffsetDateTime::now_utc();
        let found =
            self.all().get(name).filter(|cached| cached.owner == owner && cached.expires > now).cloned();
        found.ok_or_else(missing)
    }

    pub(crate) fn list(&self, owner: &str) -> List {
        let now = OffsetDateTime::now_utc();
        let all = self.all();
        let open = all.values().filter(|cached| cached.owner == owner && cached.expires > now);
        List { cached_contents: open.map(Cached::row).collect() }
    }

    /// Updates the expiry; nothing else can be changed.
    pub(crate) fn update(&self, owner: &str, name: &str, sent: &Sent) -> Result<Row, ApiError> {
        let mut cached = self.get(owner, name)?;
        let fixed = sent.display_name.is_some()
            || sent.model.is_some()
            || !sent.contents.is_empty()
            || sent.system_instruction.is_some()
            || !sent.tools.is_empty()
            || sent.tool_config.is_some();
        if fixed || sent.name.as_ref().is_some_and(|sent| sent != name) {
            return Err(ApiError::invalid("Only ttl or expire_time of a CachedContent can be updated."));
        }
        let now = OffsetDateTime::now_utc();
        let Some(expires) = expiry(sent, now)? else {
            return Err(ApiError::invalid("Either ttl or expire_time must be set."));
        };
        (cached.expires, cached.updated) = (expires, now);
        let row = cached.row();
        self.all().insert(name.to_owned(), cached);
        Ok(row)
    }

    pub(crate) fn delete(&self, owner: &str, name: &str) -> Result<(), ApiError> {
        self.get(owner, name)?;
        self.all().remove(name);
        Ok(())
    }

    /// Finds the cached content that a request uses, and rejects a request that repeats fields of the cache.
    pub(crate) fn lookup(
        &self,
        owner: &str,
        model: &str,
        request: &GenerateRequest,
    ) -> Result<Option<Cached>, ApiError> {
        let Some(name) = request.cached_content.as_deref().filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        if request.system_instruction.is_some() || !request.tools.is_empty() || request.tool_config.is_some()
        {
            return Err(ApiError::invalid(
                "CachedContent can not be used with GenerateContent request setting system_instruction, tools or \
                 tool_config. Proposed fix: move those values to CachedContent from GenerateContent request.",
            ));
        }
        let cached = self.get(owner, name)?;
        if cached.model != model {
            return Err(ApiError::invalid(format!(
                "Model used by GenerateContent request (models/{model}) and CachedContent (models/{}) has to be the \
                 same.",
                cached.model
            )));
        }
        Ok(Some(cached))
    }

    pub(crate) fn clear(&self) {
        self.all().clear();
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Cached>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cached {
    pub(crate) fn row(&self) -> Row {
        Row {
            name: self.name.clone(),
            model: format!("models/{}", self.model),
            display_name: self.display_name.clone(),
            create_time: timestamp(self.created),
            update_time: timestamp(self.updated),
            expire_time: timestamp(self.expires),
            usage_metadata: Usage { total_token_count: self.tokens },
        }
    }
}

/// The same error for an expired, an unknown and a foreign cache.
fn missing() -> ApiError {
    ApiError::new(403, "PERMISSION_DENIED", "CachedContent not found (or permission denied)")
}

fn expiry(sent: &Sent, now: OffsetDateTime) -> Result<Option<OffsetDateTime>, ApiError> {
    let expires = match (&sent.ttl, &sent.expire_time) {
        (Some(_), Some(_)) => {
            return Err(ApiError::invalid(
                "Invalid value at 'cached_content' (oneof), oneof field 'expiration' is already set.",
            ));
        }
        (None, None) => return Ok(None),
        (Some(ttl), None) => ttl
            .strip_suffix('s')
            .and_then(|seconds| seconds.parse().ok())
            .and_then(Duration::checked_seconds_f64)
            .and_then(|ttl| now.checked_add(ttl)),
        (None, Some(time)) => OffsetDateTime::parse(time, &Rfc3339).ok(),
    };
    match expires.filter(|expires| *expires > now) {
        Some(expires) => Ok(Some(expires)),
        None => Err(ApiError::invalid("The CachedContent must expire in the future.")),
    }
}

fn timestamp(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_default()
}
