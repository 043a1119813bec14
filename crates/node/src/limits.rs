//! What a node accepts, stores and lists at most, beside the limits in `domain::limits`.

use std::time::Duration;

/// Lines of the journal that wait in memory while the disk takes none: hours of a busy node.
pub(crate) const JOURNAL_WAITING_BYTES_MAX: usize = 16 << 20;
/// Length of a control plane's answer. That to a heartbeat has the signed list of peers, which grows with the workspace.
pub(crate) const CONTROL_ANSWER_BYTES_MAX: usize = 1 << 20;
/// Energy counters of one machine: a big server has a few dozen.
pub(crate) const ENERGY_ZONES_MAX: usize = 256;
/// Accelerators of one machine whose energy is counted.
pub(crate) const ACCELERATORS_MAX: std::ffi::c_uint = 64;
/// How often the energy counters are read at least: a counter is full within minutes under load.
pub(crate) const ENERGY_READ_EVERY: std::time::Duration = std::time::Duration::from_secs(60);
/// Rows on one page: records of the journal, training jobs, their events and checkpoints.
pub(crate) const PAGE_ROWS_MAX: usize = 1_000;
/// Sessions whose model is remembered; the oldest are forgotten first.
pub(crate) const SESSIONS_MAX: usize = 4_096;
/// Length of a session's id, which clients choose.
pub(crate) const SESSION_ID_BYTES_MAX: usize = 128;

/// Backends of a hybrid node. They are tried one after the other.
pub(crate) const BACKENDS_MAX: usize = 32;
/// Length of a backend's id, which is sent in a header.
pub(crate) const BACKEND_ID_BYTES_MAX: usize = 128;
/// Size of a key file. Keys are some hundred bytes.
pub(crate) const KEY_FILE_BYTES_MAX: u64 = 16 * 1024;
/// How many nodes may forward a request.
pub(crate) const HOPS_MAX: usize = 3;
/// How long a backend may compute an answer that is not a stream, until its head arrives.
pub(crate) const BACKEND_ANSWER_TIME_MAX: Duration = Duration::from_secs(600);
/// How much of a backend's error is read.
pub(crate) const BACKEND_ERROR_BYTES_MAX: usize = 64 * 1024;

/// Uploaded files. All are listed in memory.
pub(crate) const FILES_MAX: usize = 256;
/// Size of all uploaded files together: disk space.
pub(crate) const FILES_BYTES_MAX: u64 = 4 << 30;
/// The part of an uploaded file's name that is stored.
pub(crate) const FILE_NAME_BYTES_MAX: usize = 256;
/// Size of one job's data, which is sent in a body.
pub(crate) const DATA_BYTES_MAX: usize = domain::limits::BODY_BYTES_MAX;
/// Training jobs that are known at the same time, finished ones included.
pub(crate) const JOBS_MAX: usize = 64;
/// Checkpoints retained of one job, its final adapter included; the oldest are deleted first.
pub(crate) const JOB_CHECKPOINTS_MAX: usize = 3;
/// Checkpoints retained of all jobs.
pub(crate) const CHECKPOINTS_MAX: usize = 12;
/// Their size together: disk space.
pub(crate) const CHECKPOINTS_BYTES_MAX: u64 = 4 << 30;

/// Epochs of one job; `STEPS_MAX` bounds the work.
pub(crate) const EPOCHS_MAX: u64 = 1_000;
/// Tokens of one micro-batch. A number above it is a typing error.
pub(crate) const BATCH_TOKENS_MAX: u64 = 1 << 20;
/// Examples of one batch. A number above it is a typing error.
pub(crate) const BATCH_EXAMPLES_MAX: u64 = 1 << 20;
/// Micro-batches of a step, and steps between two reports. A number above it is a typing error.
pub(crate) const STEPS_COUNTED_MAX: u64 = 1 << 20;
/// Rank of an adapter that is trained; the engine serves none of a higher rank.
pub(crate) const LORA_RANK_MAX: u64 = 256;
/// How long one job may train, in hours: a job has the trainer to itself, and others wait for it.
pub(crate) const HOURS_MAX: f64 = 24.0;
/// Steps of one job: each is a stored event.
pub(crate) const STEPS_MAX: u64 = 250_000;
/// Length of the suffix of a trained model's name; the limit of the OpenAI API.
pub(crate) const SUFFIX_BYTES_MAX: usize = 64;
/// Entries of a job's metadata; the limit of the OpenAI API.
pub(crate) const NOTES_MAX: usize = 16;
/// Length of the name and of the value of such an entry; the limit of the OpenAI API for values.
pub(crate) const NOTE_BYTES_MAX: usize = 512;
/// Reads and writes of files at the same time, each on a thread of its own.
pub(crate) const BLOCKING_TASKS_MAX: usize = 4;

/// How far a joined node's clock may be from its control plane's before that is said, in milliseconds.
pub(crate) const CLOCK_SKEW_NOTED_MS: u64 = 60_000;
/// How often the control plane's time is stored, in milliseconds: how much a restart may set it back.
pub(crate) const HEARD_KEPT_EVERY_MS: u64 = 60_000;
/// How soon a node opens a tunnel again, and how late at most where it fails; with jitter.
pub(crate) const TUNNEL_RETRY_BASE: Duration = Duration::from_millis(250);
pub(crate) const TUNNEL_RETRY_MAX: Duration = Duration::from_secs(15);
/// Gateways of one control plane to which a node has tunnels.
pub(crate) const TUNNEL_GATEWAYS_MAX: usize = 16;
/// Tunnels that finish what runs beside the one in use.
pub(crate) const TUNNELS_RETIRING_MAX: usize = 2;
