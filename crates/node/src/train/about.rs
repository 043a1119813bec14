//! A node's training capabilities and limits.

use serde::Serialize;

use crate::limits::{
    CHECKPOINTS_BYTES_MAX, CHECKPOINTS_MAX, DATA_BYTES_MAX, FILES_BYTES_MAX, FILES_MAX, HOURS_MAX,
    JOB_CHECKPOINTS_MAX, JOBS_MAX, LORA_RANK_MAX, STEPS_MAX,
};

#[derive(Debug, Serialize)]
pub(crate) struct Offers {
    /// Path segments after `/v1/train/`.
    kinds: [&'static str; 1],
    /// The names of the same methods in OpenAI's API.
    methods: [&'static str; 1],
    /// What training produces.
    makes: [&'static str; 1],
    devices: [&'static str; 1],
    /// Jobs can be paused, and survive restarts of the node.
    pauses: bool,
    jobs_at_once: usize,
    max_jobs: usize,
    max_data_bytes: usize,
    max_steps: u64,
    max_lora_rank: u64,
    max_duration_hours: f64,
    max_files: usize,
    max_files_bytes: u64,
    /// Limits for checkpoints: of one job, its final adapter included, and of all jobs.
    max_job_checkpoints: usize,
    max_checkpoints: usize,
    max_checkpoints_bytes: u64,
}

impl Default for Offers {
    fn default() -> Self {
        Self {
            kinds: ["sft"],
            methods: ["supervised"],
            makes: ["adapter"],
            devices: ["cpu"],
            pauses: true,
            jobs_at_once: 1,
            max_jobs: JOBS_MAX,
            max_data_bytes: DATA_BYTES_MAX,
            max_steps: STEPS_MAX,
            max_lora_rank: LORA_RANK_MAX,
            max_duration_hours: HOURS_MAX,
            max_files: FILES_MAX,
            max_files_bytes: FILES_BYTES_MAX,
            max_job_checkpoints: JOB_CHECKPOINTS_MAX,
            max_checkpoints: CHECKPOINTS_MAX,
            max_checkpoints_bytes: CHECKPOINTS_BYTES_MAX,
        }
    }
}
