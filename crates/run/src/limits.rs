//! What a run accepts and reports, beside the limits in `domain::limits`.

use std::time::Duration;

pub(crate) use runs::INPUT_FILES_MAX;

/// Answers that a core makes in the background at once.
pub(crate) const BACKGROUND_PER_CORE_MAX: u32 = 256;
/// How often an answer in the background looks whether it is to be cancelled.
pub(crate) const BACKGROUND_LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long after its deadline an answer that is not there is given up: the process that made it is gone.
pub(crate) const BACKGROUND_GRACE: Duration = Duration::from_secs(5);
/// How long a cancellation waits for its answer to end, and how often it looks.
pub(crate) const CANCEL_TIME_MAX: Duration = Duration::from_secs(4);
pub(crate) const CANCEL_LOOK_EVERY: Duration = Duration::from_millis(100);
/// The part of a document's name that the prompt shows.
pub(crate) const DOCUMENT_NAME_CHARS_MAX: usize = 128;
/// PDFs of one workspace that are read at the same time, and of all: `pdf` bounds these, too.
pub(crate) const PDFS_OF_WORKSPACE_MAX: usize = 1;
pub(crate) const PDFS_MAX: usize = 64;
/// Errors of an input that are reported in one response.
pub(crate) const INPUT_ERRORS_MAX: usize = 16;
/// How long a warm session is idle before it ends, in seconds, unless its client says otherwise.
pub(crate) const SESSION_SECONDS: u64 = 300;
/// Answers that one may continue.
pub(crate) const KEPT_RESPONSES_CONTINUED_MAX: usize = 500;
/// Bytes of them that are read at once.
pub(crate) const KEPT_RESPONSES_READ_BYTES: usize = 8 * 1024 * 1024;
/// Items of a conversation that are added at once, and bytes of each.
pub(crate) const CONVERSATION_ITEMS_ADDED_MAX: usize = 100;
pub(crate) const CONVERSATION_ITEM_BYTES_MAX: usize = 1024 * 1024;
/// Pairs of a conversation's metadata, and characters of each.
pub(crate) const METADATA_PAIRS_MAX: usize = 16;
pub(crate) const METADATA_NAME_CHARS_MAX: usize = 64;
pub(crate) const METADATA_VALUE_CHARS_MAX: usize = 512;
/// A summary that stands for a part of a conversation, with what was sent beside it.
pub(crate) const SEALED_SUMMARY_BYTES_MAX: usize = 1024 * 1024;
/// Items of an input that are named by their id alone.
pub(crate) const ITEM_REFERENCES_MAX: usize = 500;
/// How often a conversation that is too long is shortened before all is left out that may be.
pub(crate) const TRUNCATION_ROUNDS_MAX: usize = 6;
/// Items of a page of a list, where its client does not say how many, and the most.
pub(crate) const LIST_PAGE_ITEMS: usize = 20;
pub(crate) const LIST_PAGE_ITEMS_MAX: usize = 100;
/// The input and the output of a task that are stored.
pub(crate) const TASK_CONTENT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How often a task is tried whose error another try may not have, or whose gateway ends.
pub(crate) const TASK_TRIES_MAX: u32 = 5;
/// How often it is tried to store how a task ended.
pub(crate) const TASK_STORE_TRIES_MAX: u32 = 6;
/// Stars that a task may be rated with.
pub(crate) const RATING_MAX: u8 = 5;
/// How far ahead a task may be put off.
pub(crate) const RUN_AHEAD_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);
/// How long a task may be stored after its end, in seconds, where its client says so.
pub(crate) const TASK_TTL_SECONDS_MIN: u64 = 60;
pub(crate) const TASK_TTL_SECONDS_MAX: u64 = 30 * 24 * 3_600;
/// Files of one output that are stored.
pub(crate) const MADE_FILES_MAX: usize = 64;
/// Bytes of all files of an input.
pub(crate) const INPUT_FILES_BYTES_MAX: usize = 48 * 1024 * 1024;
/// The longest answer of a model that an app's output is made of.
pub(crate) const APP_ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes at the beginning of a picture in which its size is looked for.
pub(crate) const PICTURE_HEAD_BYTES_MAX: usize = 64 * 1024;
/// How long a run waits for a video that is being made, and how often it looks: first, and then.
pub(crate) const VIDEO_WAIT_MAX: Duration = Duration::from_secs(100);
pub(crate) const VIDEO_LOOK_FIRST: Duration = Duration::from_millis(250);
pub(crate) const VIDEO_LOOK_EVERY_MAX: Duration = Duration::from_secs(5);
/// How long a task waits for its video.
pub(crate) const TASK_VIDEO_WAIT_MAX: Duration = Duration::from_secs(15 * 60);
/// How long a step of an agent may take whose time is over, so that it can say what it has.
pub(crate) const AGENT_GRACE: Duration = Duration::from_secs(60);
/// Messages of a page of a chat.
pub(crate) const CHAT_MESSAGES_MAX: usize = 200;
/// How long the task of a flow rests in the queue: a tenth of its age, within these bounds.
pub(crate) const FLOW_REST_MS_MIN: u64 = 500;
pub(crate) const FLOW_REST_MS_MAX: u64 = 30_000;
