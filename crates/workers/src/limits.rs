//! What is started, kept and read of workers at most.

use std::time::Duration;

/// Workers that are not destroyed, if the configuration states no other number.
pub(crate) const WORKERS_DEFAULT: usize = 8;
pub(crate) const WORKERS_MAX: usize = 64;
/// Workers that are remembered after their end; the oldest are forgotten first.
pub(crate) const ENDED_WORKERS_MAX: usize = 64;
/// Steps of one worker that are remembered.
pub(crate) const STEPS_MAX: usize = 32;
/// Length of a step's message.
pub(crate) const MESSAGE_CHARS_MAX: usize = 500;
/// What is shown of a worker's log: its end.
pub(crate) const LOG_READ_BYTES_MAX: usize = 64 * 1024;
/// What a worker's log may take on disk; only its end is kept beyond that.
pub(crate) const LOG_BYTES_MAX: u64 = 4 << 20;
/// Arguments and variables of one worker, and their length.
pub(crate) const ARGUMENTS_MAX: usize = 64;
pub(crate) const VARIABLES_MAX: usize = 64;
pub(crate) const WORD_BYTES_MAX: usize = 16 * 1024;
/// Length of what is passed on to a service that starts workers.
pub(crate) const SPEC_BYTES_MAX: usize = 64 * 1024;
/// A week without a request.
pub(crate) const IDLE_MINUTES_MAX: u64 = 7 * 24 * 60;
/// One run of a helper program: the SSH client, or `kubectl`.
pub(crate) const COMMAND_TIME_MAX: Duration = Duration::from_secs(60);
/// What is read of its output.
pub(crate) const COMMAND_OUTPUT_BYTES_MAX: usize = 1 << 20;
/// One call of a service that starts workers.
pub(crate) const CALL_TIME_MAX: Duration = Duration::from_secs(30);
pub(crate) const CALL_BYTES_MAX: usize = 256 * 1024;
/// A call of such a service, whose body is read before it is known who sent it.
pub(crate) const CALLBACK_BYTES_MAX: usize = 64 * 1024;
pub(crate) const CALLBACK_ID_BYTES_MAX: usize = 128;
/// How far the time of a call may be from the node's: what Standard Webhooks recommends.
pub(crate) const CALLBACK_SKEW_MAX: Duration = Duration::from_secs(5 * 60);
/// Calls of one worker within that time, each of which is remembered, so that it is not taken twice.
pub(crate) const CALLBACKS_MAX: usize = 256;
/// Steps of one worker that its service states, beside the node's own, and the length of their names.
pub(crate) const SERVICE_STEPS_MAX: usize = 32;
pub(crate) const STEP_NAME_CHARS_MAX: usize = 64;
/// How long a worker may take from its start to its first healthy answer.
pub(crate) const PROVISIONING_TIME_MAX: Duration = Duration::from_secs(30 * 60);
/// How long a worker's processes have to end by themselves.
pub(crate) const GRACE_TIME_MAX: Duration = Duration::from_secs(10);
/// How often a worker is looked at.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(2);
