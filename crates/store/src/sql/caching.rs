//! The columns of the cache settings, which workspaces and projects have alike.

use domain::{CacheMode, CachePolicy, ResponseCacheMode};

use crate::sql::resource::ColumnValues;

/// Sets them. A replica that knows no semantic cache reads the mode as `exact`, which is what it can do.
pub(super) fn set(columns: ColumnValues, caching: &CachePolicy) -> ColumnValues {
    let is_semantic = caching.responses == Some(ResponseCacheMode::Semantic);
    let responses = if is_semantic { Some(ResponseCacheMode::Exact) } else { caching.responses };
    columns
        .set("caching_managed", caching.managed.map(CacheMode::as_str))
        .set("caching_byok", caching.byok.map(CacheMode::as_str))
        .set("caching_keep_alive", caching.keep_alive.map(i64::from))
        .set("caching_responses", responses.map(ResponseCacheMode::as_str))
        .set("caching_responses_ttl_s", caching.responses_ttl_s.map(i64::from))
        .set("caching_is_semantic", i64::from(is_semantic))
        .set("caching_semantic_model", caching.semantic_model.as_deref())
        .set("caching_semantic_bps_min", caching.semantic_similarity_bps_min.map(i64::from))
}
