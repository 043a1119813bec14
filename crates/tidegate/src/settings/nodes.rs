//! Settings about nodes and data planes that join: how often nodes report, and how long what they are given is valid.

use std::time::Duration;

use reconcilers::NodeTerms;

use super::{Layers, SettingsError, words};
use crate::limits::{DATA_PLANE_LIFE_MAX, NODE_LIFE_MS_MAX, TUNNEL_URLS_MAX};

pub(super) const CERTIFICATE: &str = "node_certificate_ms";
pub(super) const DATA_PLANE_LIFE: &str = "data_plane_life_s";
pub(super) const TUNNEL_URLS: &str = "tunnel_urls";
pub(super) const ALONE: &str = "node_alone_ms";

impl Layers {
    pub(super) fn beat_every(&self) -> Result<Duration, SettingsError> {
        self.parsed("node_heartbeat_ms", "a number of milliseconds from 100 to 3600000", |text| {
            text.parse().ok().filter(|count| (100..=3_600_000).contains(count)).map(Duration::from_millis)
        })
    }

    pub(super) fn node_terms(&self) -> Result<NodeTerms, SettingsError> {
        let life = |key| {
            self.parsed(key, "a number of milliseconds from 1000 to 31536000000", |text| {
                text.parse()
                    .ok()
                    .filter(|count| (1_000..=NODE_LIFE_MS_MAX).contains(count))
                    .map(Duration::from_millis)
            })
        };
        let tunnel_urls =
            self.parsed(TUNNEL_URLS, "up to 16 URLs that begin with https:// or http://", urls)?;
        Ok(NodeTerms {
            certificate: life(CERTIFICATE)?,
            alone: life(ALONE)?,
            tunnel_urls: tunnel_urls.into(),
        })
    }

    pub(super) fn data_plane_life(&self) -> Result<Duration, SettingsError> {
        self.parsed(DATA_PLANE_LIFE, "a number of seconds from 1 to 2592000", |text| {
            text.parse()
                .ok()
                .map(Duration::from_secs)
                .filter(|life| !life.is_zero() && *life <= DATA_PLANE_LIFE_MAX)
        })
    }
}

fn urls(text: &str) -> Option<Vec<String>> {
    let is_base = |url: &str| {
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(['@', '?', '#', ' ']))
    };
    let urls: Option<Vec<String>> =
        words(text).map(|url| is_base(url).then(|| url.trim_end_matches('/').to_owned())).collect();
    urls.filter(|urls| urls.len() <= TUNNEL_URLS_MAX)
}
