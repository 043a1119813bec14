//! What a node says of its training: which kinds there are, and how much of it.

use serde::Serialize;

use super::ask::{HOURS_MAX, RANK_MAX};
use super::book::{JOBS_MAX, POINTS_BYTES_MAX, POINTS_MAX, POINTS_OF_JOB_MAX};
use super::files;
use super::plan::{DATA_BYTES_MAX, STEPS_MAX};

#[derive(Debug, Serialize)]
pub(crate) struct Offers {
    /// Behind `/v1/train/`.
    kinds: [&'static str; 1],
    /// What other grammars call the same.
    methods: [&'static str; 1],
    /// What comes of it.
    makes: [&'static str; 1],
    devices: [&'static str; 1],
    /// It can be paused, and goes on after any end of the node.
    pauses: bool,
    jobs_at_once: usize,
    max_jobs: usize,
    max_data_bytes: usize,
    max_steps: u64,
    max_lora_rank: u64,
    max_duration_hours: f64,
    max_files: usize,
    max_files_bytes: u64,
    /// What is kept of the ends of epochs: of one job, what it made in the end among them, and of all.
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
            max_lora_rank: RANK_MAX,
            max_duration_hours: HOURS_MAX,
            max_files: files::FILES_MAX,
            max_files_bytes: files::BYTES_MAX,
            max_job_checkpoints: POINTS_OF_JOB_MAX,
            max_checkpoints: POINTS_MAX,
            max_checkpoints_bytes: POINTS_BYTES_MAX,
        }
    }
}
