//! Settings about nodes and data planes that join: how often nodes report, and how long what they are given is valid.

use std::time::Duration;

use reconcilers::NodeLives;

use super::{Layers, SettingsError};
use crate::limits::{DATA_PLANE_LIFE_MAX, NODE_LIFE_MS_MAX};

pub(super) const CERTIFICATE: &str = "node_certificate_ms";
pub(super) const DATA_PLANE_LIFE: &str = "data_plane_life_s";
pub(super) const ALONE: &str = "node_alone_ms";

impl Layers {
    pub(super) fn beat_every(&self) -> Result<Duration, SettingsError> {
        self.parsed("node_heartbeat_ms", "a number of milliseconds from 100 to 3600000", |text| {
            text.parse().ok().filter(|count| (100..=3_600_000).contains(count)).map(Duration::from_millis)
        })
    }

    pub(super) fn node_lives(&self) -> Result<NodeLives, SettingsError> {
        let life = |key| {
            self.parsed(key, "a number of milliseconds from 1000 to 31536000000", |text| {
                text.parse()
                    .ok()
                    .filter(|count| (1_000..=NODE_LIFE_MS_MAX).contains(count))
                    .map(Duration::from_millis)
            })
        };
        Ok(NodeLives { certificate: life(CERTIFICATE)?, alone: life(ALONE)? })
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
