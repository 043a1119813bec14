//! Every bound of the system, named once: bodies, queues, retries, streams, times.

use std::time::Duration;

/// A request body, after decompression.
pub const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// A compressed body may grow by this factor once it is past `BODY_RATIO_FREE_BYTES`.
pub const BODY_RATIO_MAX: usize = 100;
pub const BODY_RATIO_FREE_BYTES: usize = 1024 * 1024;
/// So much of a packed body is unpacked before other requests of the core have their turn. A decoder takes 3 us for a block
/// of ten bits that puts out nothing: 3 ms for this much.
pub const UNPACK_SLICE_BYTES: usize = 1024;
/// A packed body that has put out less than one byte for `UNPACK_IDLE_SHARE` of its bytes is refused once it took this much.
/// No encoder makes what it packs larger than it was by more than a few bytes; zstd puts out nothing before 128 KiB of a
/// block are there.
pub const UNPACK_IDLE_BYTES_MAX: usize = 256 * 1024;
pub const UNPACK_IDLE_SHARE: usize = 4;
/// Unpacking one body may take a core so long, and so much longer for each MiB that comes out.
pub const UNPACK_WORK_FREE: Duration = Duration::from_millis(200);
pub const UNPACK_WORK_PER_MIB: Duration = Duration::from_millis(20);
/// A gzip body may be so many files, one behind the other; each costs a decoder.
pub const GZIP_MEMBERS_MAX: usize = 16;
/// A `/v2` body: configuration, never content.
pub const CONTROL_BODY_BYTES_MAX: usize = 1024 * 1024;
/// A file that a provider is to keep, with the form around it: the most that one of them takes.
pub const FILE_BYTES_MAX: usize = 513 * 1024 * 1024;
/// Things of a project that one page of a list shows.
pub const KEPT_ROWS_MAX: u32 = 1_000;
/// Files that one request names by names of ours, which are looked up one by one.
pub const FILES_NAMED_MAX: usize = 64;
/// Of a form, so much is held and can be sent again; what follows goes on as it comes.
pub const FORM_HELD_BYTES_MAX: usize = 1024 * 1024;
/// Nesting of JSON that we accept.
pub const JSON_DEPTH_MAX: usize = 128;
/// Members of any one JSON document.
pub const JSON_KEYS_MAX: usize = 100_000;
/// A model's name: it travels in records, headers and messages.
pub const MODEL_NAME_BYTES_MAX: usize = 256;
/// Of the end user's name, which is for records alone, what we keep.
pub const END_USER_BYTES_MAX: usize = 256;
/// Choices that one request may ask for; the vendor's own limit.
pub const CHOICES_MAX: u32 = 128;
/// The value of `Agent-Hints`; more is no hint.
pub const HINTS_BYTES_MAX: usize = 8 * 1024;
/// A request's tag: a short word that routes match on.
pub const TAG_BYTES_MAX: usize = 128;
/// All request headers together.
pub const HEADER_BYTES_MAX: usize = 64 * 1024;
/// How long a client may take to send its headers.
pub const HEADER_READ_TIME_MAX: Duration = Duration::from_secs(10);
/// A body slower than `BODY_RATE_MIN_BYTES_S` after this grace is given up.
pub const BODY_GRACE: Duration = Duration::from_secs(10);
pub const BODY_RATE_MIN_BYTES_S: u64 = 1024;
/// A client that lets what it is sent wait for this long is gone. By each byte that it takes it earns the time that the byte
/// takes at the least rate.
pub const WRITE_STALL_MAX: Duration = Duration::from_secs(30);
pub const WRITE_RATE_MIN_BYTES_S: u64 = 1024;
/// Frames of an HTTP/2 client that ask for nothing but an answer to themselves (pings, settings, priorities, empty data): so
/// many at once, and so many a second.
pub const H2_IDLE_FRAMES_MAX: u32 = 1_000;
pub const H2_IDLE_FRAMES_PER_S: u32 = 100;

/// Tries of one exchange, over all principals.
pub const ATTEMPTS_MAX: u32 = 6;
/// Tries with one principal before the next is asked.
pub const TRIES_PER_PRINCIPAL_MAX: u32 = 3;
pub const BACKOFF_BASE: Duration = Duration::from_millis(200);
pub const BACKOFF_MAX: Duration = Duration::from_secs(8);
/// A longer `Retry-After` is not waited for: the next principal is asked, or the client is told.
pub const RETRY_AFTER_WAIT_MAX: Duration = Duration::from_secs(10);
/// The longest `Retry-After` we send; SDKs sleep for whatever they are told.
pub const RETRY_AFTER_SENT_MAX: Duration = Duration::from_secs(60);
/// Retries may add this share to an upstream's traffic, in percent, plus `RETRY_BUDGET_FREE_PER_S`.
pub const RETRY_BUDGET_PERCENT: u32 = 20;
pub const RETRY_BUDGET_FREE_PER_S: u32 = 10;

/// So many failures in a row open a breaker.
pub const BREAKER_FAILURES: u32 = 5;
/// The first opening lasts this long, each further one without a success between twice as long.
pub const BREAKER_OPEN_FIRST: Duration = Duration::from_secs(5);
pub const BREAKER_OPEN_MAX: Duration = Duration::from_secs(120);
/// A half-open try that nobody reported on is given up after this, so that a lost one can't keep a breaker shut.
pub const BREAKER_TRIAL_MAX: Duration = Duration::from_secs(130);
/// A parked principal is probed this often, over all cores together.
pub const PARKED_PROBE_EVERY: Duration = Duration::from_secs(60);
/// A core tells the others this often how near a principal is to its provider's limits.
pub const LIMITS_TOLD_EVERY: Duration = Duration::from_secs(1);
/// A rest that a provider asks for is believed up to this.
pub const REST_MAX: Duration = Duration::from_secs(24 * 3600);
/// Unspent retries are kept for this long.
pub const RETRY_BUDGET_KEPT: Duration = Duration::from_secs(10);
/// Principals that a core keeps state of.
pub const BOARD_PRINCIPALS_MAX: usize = 65_536;
/// Models of one principal that a core keeps state of; their names may come from clients.
pub const BOARD_MODELS_MAX: usize = 256;
/// Upstreams that a core keeps a retry budget of.
pub const BOARD_UPSTREAMS_MAX: usize = 4_096;
/// Parkings and rests that all cores share.
pub const BOARD_NOTICES_MAX: usize = 16_384;

/// Where prefixes of one request end: of longer conversations their middle is not looked at.
pub const PREFIX_ENDS_MAX: usize = 48;
/// No prompt with less text is looked at: no provider caches a shorter prefix.
pub const PREFIX_PROMPT_BYTES_MIN: u64 = 2 * 1024;
/// A mark where the manifest does not say from how much on a prefix is kept: as much as the most asks for.
pub const CACHE_TOKENS_MIN_UNKNOWN: u64 = 4_096;
/// How long a prefix is kept, where the manifest does not say it: as long as the least does.
pub const CACHE_LIFETIME_UNKNOWN: Duration = Duration::from_secs(300);
/// Prefixes that are remembered of one workspace.
pub const PREFIXES_REMEMBERED_MAX: usize = 2_048;
/// Workspaces whose prefixes are remembered; those that were away longest are forgotten first.
pub const PREFIX_WORKSPACES_MAX: usize = 1_024;

/// Of the texts of one prompt or answer, so much is counted by a tokenizer; what is longer goes on as it began. 100 KiB of
/// prose or code took a core 2 ms, of Chinese 5 ms, of one letter or of blanks, at worst, 16 ms.
pub const COUNTED_BYTES_MAX: usize = 128 * 1024;
/// The body of a streamed request is kept up to this for the length of its answer, to be counted should nobody else do so.
pub const COUNTED_BODY_BYTES_MAX: usize = 64 * 1024;
/// Models whose bytes for a token are learned; those of which least is known are forgotten first.
pub const RATIOS_MAX: usize = 1_024;

pub const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// Until the upstream's first byte of an answer.
pub const FIRST_BYTE_TIME_MAX: Duration = Duration::from_secs(120);
/// Between two reads of an answer.
pub const IDLE_TIME_MAX: Duration = Duration::from_secs(60);
/// One exchange from its first byte to its last.
pub const DEADLINE: Duration = Duration::from_secs(600);
/// The longest that a verification takes; a person waits for it.
pub const VERIFY_TIME_MAX: Duration = Duration::from_secs(20);
/// Asking a server what it takes: one call, and all of them. A person waits for it.
pub const PROBE_CALL_TIME_MAX: Duration = Duration::from_secs(10);
pub const PROBE_TIME_MAX: Duration = Duration::from_secs(20);
/// What is read of one answer to it.
pub const PROBE_ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Asking a runtime of ours what it runs; a person waits for it, and the others that are asked beside it are shown with it.
pub const RUNTIME_LOOK_TIME_MAX: Duration = Duration::from_secs(10);
/// Having it do something: an adapter is read from a disk, a job's texts are counted.
pub const RUNTIME_ACT_TIME_MAX: Duration = Duration::from_secs(50);
/// What is read of one answer of a runtime.
pub const RUNTIME_ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The nodes of a workspace that are asked for one list.
pub const RUNTIMES_ASKED_MAX: usize = 100;
/// How long the text of an upstream's refusal may take; its status alone tells enough.
pub const REFUSAL_TIME_MAX: Duration = Duration::from_secs(5);
/// The answer to one step from a secret to the token that it is exchanged for.
pub const GRANT_BYTES_MAX: usize = 64 * 1024;
pub const GRANT_STEPS_MAX: usize = 6;
/// All steps together.
pub const GRANT_TIME_MAX: Duration = Duration::from_secs(20);
/// For so long a refusal of such an exchange is told to who comes after it, without asking again.
pub const GRANT_REFUSED_FOR: Duration = Duration::from_secs(1);
/// What is kept of one turn for its provider; longer thoughts are not.
pub const KEPT_TURN_BYTES_MAX: usize = 1024 * 1024;
/// The longest form with a recording that is sent on as a document, for which it is held whole.
pub const RECORDING_BYTES_MAX: usize = 8 * 1024 * 1024;
/// So many further places an answer may lead to before what was asked for is there.
pub const LEADS_MAX: usize = 4;
/// Of an upstream's refusal, so much is read.
pub const REFUSAL_BYTES_MAX: usize = 64 * 1024;
/// How long a stream's head waits for the upstream's first event.
pub const HEAD_WAIT: Duration = Duration::from_secs(20);
/// Comments that keep a silent stream's connection open.
pub const PING_EVERY: Duration = Duration::from_secs(15);
/// A server drops what it has not yet written when a body fails: the error event gets this long to leave.
pub const ERROR_EVENT_LINGER: Duration = Duration::from_millis(10);

/// A buffered answer of an upstream, after decompression.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// One event of a stream.
pub const EVENT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Numbered parts, such as tool calls, of an answer that is put together from a stream.
pub const ASSEMBLED_CALLS_MAX: usize = 1024;
/// What a stream may hold back for a slow client before it stops reading the upstream.
pub const STREAM_BUFFER_BYTES_MAX: usize = 256 * 1024;
/// Chunks that have come already go to the client together, up to this.
pub const STREAM_PIECE_BYTES: usize = 16 * 1024;
/// Of a provider's error message, what we pass on.
pub const UPSTREAM_MESSAGE_BYTES_MAX: usize = 1024;
/// A stable word of a provider's, such as its error code; longer ones are no words.
pub const UPSTREAM_WORD_BYTES_MAX: usize = 128;
/// A provider's id of a request, for its support desk to search for; anything longer is none.
pub const UPSTREAM_REQUEST_ID_BYTES_MAX: usize = 128;
/// A wait beyond this says no more than "not today", and keeps arithmetic on it safe.
pub const UPSTREAM_WAIT_MS_MAX: u64 = 30 * 24 * 3600 * 1000;

/// Streams on one HTTP/2 connection to an upstream before the next connection is opened.
pub const H2_STREAMS_PER_CONNECTION: usize = 90;
pub const IDLE_CONNECTIONS_PER_HOST: usize = 256;
pub const IDLE_CONNECTION_TIME_MAX: Duration = Duration::from_secs(50);

/// A stream's tally goes to the journal after so many bytes or so long.
pub const CHECKPOINT_BYTES: u64 = 64 * 1024;
pub const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);
/// `fdatasync` follows a write within this.
pub const JOURNAL_SYNC_EVERY: Duration = Duration::from_millis(5);
pub const JOURNAL_SEGMENT_BYTES: u64 = 8 * 1024 * 1024;
/// One journal record.
pub const JOURNAL_RECORD_BYTES_MAX: usize = 256 * 1024;
/// Text of the client's or the provider's that a record keeps; the rest is cut at a character.
pub const RECORD_TEXT_BYTES_MAX: usize = 256;
/// The message, and what to do about it, of a failed exchange: each in its record; the rest is cut at a character.
pub const RECORD_REASON_BYTES_MAX: usize = 1024;
/// Candidates, and rejections, that a record keeps.
pub const RECORD_PLAN_ROWS_MAX: usize = 32;
/// The drainer looks for settled records this often. They are to be seen within a second, and each look is a commit.
pub const DRAIN_EVERY: Duration = Duration::from_millis(200);

/// A document that `/v1/run` fetches or decodes.
pub const DOCUMENT_BYTES_MAX: usize = 20 * 1024 * 1024;
pub const DOCUMENT_TIME_MAX: Duration = Duration::from_secs(10);
pub const DOCUMENT_REDIRECTS_MAX: u32 = 3;

/// A node without a model list is asked for it this often.
pub const NODE_POLL_EVERY: Duration = Duration::from_secs(30);
/// So many heartbeats that a joined node leaves out, and it is away.
pub const NODE_BEATS_MISSED_MAX: u32 = 3;
/// Joined nodes that are asked at once whether they answer at their address; the others wait their turn.
pub const JOINED_ASKED_AT_ONCE: usize = 8;
/// Models that a node says it serves.
pub const NODE_MODELS_MAX: usize = 1_000;
/// A control plane that is away is asked again after a while that grows from the first of these to the second, with jitter.
pub const NODE_BACKOFF_BASE: Duration = Duration::from_secs(1);
pub const NODE_BACKOFF_MAX: Duration = Duration::from_secs(60);
/// Between two reports of a node that has not much to say.
pub const NODE_REPORT_EVERY: Duration = Duration::from_secs(1);
/// The longest that a node waits for an answer of its control plane.
pub const NODE_CALL_TIME_MAX: Duration = Duration::from_secs(30);
/// What it reads of such an answer.
pub const NODE_CALL_BYTES_MAX: usize = 64 * 1024;
/// Records that a node reports at once.
pub const NODE_RECORDS_MAX: usize = 500;
/// A token that a machine joins with waits for it so long where nobody says, and at most.
pub const JOIN_TOKEN_TIME: Duration = Duration::from_secs(3_600);
pub const JOIN_TOKEN_TIME_MAX: Duration = Duration::from_secs(7 * 86_400);
/// After its time a token is known for so long: whoever brings it is told that it is too old.
pub const JOIN_TOKEN_KEPT: Duration = Duration::from_secs(7 * 86_400);
/// Rows of one `/v2` page.
pub const PAGE_ROWS_MAX: u32 = 1000;
/// Entries of one proof of the audit.
pub const AUDIT_PROOF_ROWS_MAX: u32 = 10_000;
pub const PAGE_ROWS_DEFAULT: u32 = 50;
/// A filter, as text and in terms.
pub const FILTER_BYTES_MAX: usize = 2_000;
pub const FILTER_TERMS_MAX: usize = 32;
/// Keys or projects that one name in a filter may stand for.
pub const FILTER_NAMED_MAX: u32 = 1_000;
/// How long a drain waits for streams before it cuts them.
pub const DRAIN_STREAMS_MAX: Duration = Duration::from_secs(600);
/// How long a drain waits for the first byte of a connection that was there before it: its request may be on the way.
pub const DRAIN_FIRST_BYTE_MAX: Duration = Duration::from_secs(1);
/// How long a drain waits for clients who are half connected, while nobody new connects: a long round trip.
pub const DRAIN_HANDSHAKE_MAX: Duration = Duration::from_millis(100);

/// A signed-in session that nobody used for so long is over.
pub const SESSION_IDLE_MAX: Duration = Duration::from_secs(12 * 3_600);
/// A session ends after this, however much it is used.
pub const SESSION_TIME_MAX: Duration = Duration::from_secs(7 * 86_400);
/// A sign-in link works once, and so long.
pub const LINK_TIME_MAX: Duration = Duration::from_secs(600);
/// An invitation waits for its reader.
pub const INVITATION_TIME_MAX: Duration = Duration::from_secs(7 * 86_400);
/// A device waits so long for its person's yes, and asks no more often than this.
pub const DEVICE_TIME_MAX: Duration = Duration::from_secs(600);
pub const DEVICE_POLL_EVERY: Duration = Duration::from_secs(5);
/// Devices that wait at once, of everybody.
pub const DEVICES_WAITING_MAX: u32 = 1_000;
/// A key that a device was given.
pub const DEVICE_KEY_TIME_MAX: Duration = Duration::from_secs(90 * 86_400);
/// A password's length: long enough that its hash is worth nothing, short enough that hashing it costs nothing.
pub const PASSWORD_CHARS_MIN: usize = 12;
pub const PASSWORD_BYTES_MAX: usize = 1_024;

/// How long a job's worker is believed to live without a sign of life; it gives one three times as often.
pub const JOB_LEASE: Duration = Duration::from_secs(30);
/// How often a process looks for jobs whose time has come.
pub const JOB_POLL_EVERY: Duration = Duration::from_millis(250);
/// Jobs that a process runs at once, and of them those of one workspace.
pub const JOBS_AT_ONCE: usize = 32;
pub const JOBS_AT_ONCE_OF_WORKSPACE: usize = 8;
/// What a stopping process gives its jobs to end by themselves.
pub const JOB_GOODBYE_MAX: Duration = Duration::from_secs(5);
/// Of a job's trouble, what is kept.
pub const JOB_ERROR_BYTES_MAX: usize = 512;
/// Jobs that were given up, and events that were told, are kept so long.
pub const EVENTS_KEPT: Duration = Duration::from_secs(30 * 86_400);

/// One call of a webhook.
pub const WEBHOOK_TIME_MAX: Duration = Duration::from_secs(15);
/// An event is offered so long to a receiver that does not take it.
pub const WEBHOOK_OFFERED_MAX: Duration = Duration::from_secs(3 * 86_400);
/// After a rotation the secret before still signs for so long.
pub const WEBHOOK_OVERLAP: Duration = Duration::from_secs(24 * 3_600);
pub const WEBHOOKS_OF_WORKSPACE_MAX: u32 = 32;
/// So long before a credential expires its workspace is told.
pub const CREDENTIAL_EXPIRY_NOTICES: [Duration; 3] =
    [Duration::from_secs(14 * 86_400), Duration::from_secs(3 * 86_400), Duration::from_secs(86_400)];

/// Finalised months that a new invoice is checked against for what came late.
pub const INVOICE_ADJUSTED_MONTHS: usize = 12;
/// Models that an invoice has a line for; the others share one.
pub const INVOICE_MODEL_LINES_MAX: usize = 200;
/// An idempotency key, in characters.
pub const IDEMPOTENCY_KEY_CHARS_MAX: usize = 255;
/// A kept answer is given again for so long.
pub const ANSWER_KEPT: Duration = Duration::from_secs(24 * 3_600);
/// A turn can be shown to its provider again for so long.
pub const TURN_KEPT: Duration = Duration::from_secs(24 * 3_600);
/// Turns that a process remembers, over all workspaces.
pub const TURNS_REMEMBERED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What is remembered is believed for so long; then the store is asked, where another process may have purged it.
pub const TURN_BELIEVED: Duration = Duration::from_secs(600);
/// Turns that wait for the store; more are remembered alone.
pub const TURNS_WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;
/// A request waits so long for the turns that the store knows.
pub const TURN_FIND_TIME_MAX: Duration = Duration::from_secs(2);
/// Calls of one conversation whose turns are looked for; of more, the newest.
pub const TURN_CALLS_MAX: usize = 1024;
/// How long it is known who made an answer that its provider keeps: providers keep theirs so long.
pub const RESPONSE_KNOWN: Duration = Duration::from_secs(30 * 24 * 3_600);
/// A longer id of such an answer, or one with other characters than letters, digits, `-` and `_`, is not remembered.
pub const RESPONSE_ID_BYTES_MAX: usize = 256;
/// The same of what else providers keep; some of these names hold what is known of a film.
pub const KEPT_ID_BYTES_MAX: usize = 1_024;
/// Answers that wait for the store; more are not remembered.
pub const RESPONSES_WAITING_MAX: usize = 16_384;
/// A request waits so long for the store to tell who made an answer, or whether it may book what that used.
pub const RESPONSE_FIND_TIME_MAX: Duration = Duration::from_secs(2);
/// Of one conversation's turns, what is read from the store, the newest first.
pub const TURNS_FOUND_BYTES_MAX: usize = 16 * 1024 * 1024;
/// A keyed request that nobody speaks for any longer than this is free: its process died.
pub const CLAIM_TIME_MAX: Duration = Duration::from_secs(60);
/// A process speaks this often for the keyed requests that it is answering.
pub const CLAIM_EXTENDED_EVERY: Duration = Duration::from_secs(15);
/// A keyed request waits so long for the store before it is refused.
pub const CLAIM_WAIT_MAX: Duration = Duration::from_secs(3);
/// The end of an answer waits so long until it is kept.
pub const KEEP_WAIT_MAX: Duration = Duration::from_secs(1);
/// How long a request may wait for settlements and leases before a budget refuses it.
pub const BUDGET_WAIT_MAX: Duration = Duration::from_secs(2);
/// Requests that wait for one budget at once; more are refused.
pub const BUDGET_WAITING_MAX: usize = 10_000;
/// A replica that lost its centre spends on for so long; the centre takes the lease back only after this and the skew.
pub const LEASE_TIME_MAX: Duration = Duration::from_secs(15 * 60);
/// Clocks of a database and of what it serves run apart by less than this in such a time.
pub const LEASE_SKEW_MAX: Duration = Duration::from_secs(60);
/// Leases are held on to this often; also how soon a lost call for their return is made good.
pub const LEASE_RENEW_EVERY: Duration = Duration::from_secs(60);
/// What nobody drew on for so long goes back to the centre.
pub const LEASE_IDLE_MAX: Duration = Duration::from_secs(10);
/// A slice of a budget is at most this share of it, in percent, and half of an equal share of what is free.
pub const LEASE_SLICE_PERCENT_MAX: i64 = 1;
/// A replica that was not heard of for so long takes no share any more.
pub const REPLICA_SEEN_MAX: Duration = Duration::from_secs(3 * 60);
/// The largest budget: ten million USD. A hundredfold of it still fits the arithmetic.
pub const BUDGET_MICROS_MAX: u64 = 10_000_000_000_000;
/// What a model without a known limit is taken to write at most.
pub const OUTPUT_TOKENS_UNKNOWN: u64 = 32_768;
/// The same of a response within a realtime session.
pub const REALTIME_OUTPUT_TOKENS_MAX: u64 = 4_096;
/// A token of a realtime answer's sound is 50 ms of it: at 24 kHz and two bytes, in base64.
pub const REALTIME_SOUND_BYTES_PER_TOKEN: u64 = 3_200;
/// The longest message of a realtime session, either way.
pub const REALTIME_MESSAGE_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// So much of a message is read; a longer one is known by its beginning.
pub const REALTIME_READ_BYTES_MAX: usize = 1024 * 1024;
/// A client's message of up to so many bytes goes on when it was read; of a longer one all but its end goes on before.
pub const REALTIME_HELD_BYTES_MAX: usize = 16 * 1024;
/// So much waits for a side of a realtime session that takes nothing; then the other is not read.
pub const REALTIME_WAITING_BYTES_MAX: usize = 128 * 1024;
/// A realtime session in which nothing is said for so long is ended.
pub const REALTIME_IDLE_MAX: Duration = Duration::from_secs(15 * 60);
/// Responses of one session that are under way at once.
pub const REALTIME_RESPONSES_MAX: usize = 16;
/// How long a side of a realtime session has to say that it closes, too.
pub const REALTIME_CLOSE_WAIT: Duration = Duration::from_secs(5);
/// How long a realtime session is still served when a drain begins, if a response is under way.
pub const REALTIME_DRAIN_MAX: Duration = Duration::from_secs(590);
/// How soon a request in a provider's queue is looked at, how rarely in the end, and how many looks in a row may fail.
pub const QUEUE_LOOK_FIRST: Duration = Duration::from_millis(100);
pub const QUEUE_LOOK_MAX: Duration = Duration::from_secs(2);
pub const QUEUE_LOOKS_FAILED_MAX: u32 = 3;
/// What one picture is taken to be told in at most, and a character of speech.
pub const IMAGE_TOKENS_MAX: u64 = 8_192;
/// What is taken to be sent with a picture that is to be edited, at most, where not all of the request has come: a text of
/// 32,000 characters, sixteen pictures and a mask.
pub const PICTURE_TEXT_BYTES_MAX: u64 = 128_000;
pub const PICTURES_SENT_MAX: u64 = 17;
/// Millionths of a unit that one picture is billed as at most, where that is a megapixel: 4096 by 4096.
pub const IMAGE_UNITS_MAX: u64 = 16_000_000;
/// The same of a character that is read aloud, where that is a second of sound or a thousand characters: nobody takes
/// longer than a tenth of a second for one.
pub const CHARACTER_UNITS_MAX: u64 = 100_000;
/// The same of a millisecond of sound that is listened to, where that is a second of a machine: none listens more slowly
/// than it is said.
pub const SOUND_UNITS_OF_MS_MAX: u64 = 1_000;
/// Searches of each kind that a budget keeps room for where a model may search as often as it likes.
pub const HOSTED_SEARCHES_MAX: u64 = 16;
pub const AUDIO_TOKENS_OF_A_CHARACTER_MAX: u64 = 4;
/// Live limits and leases that a core remembers.
pub const CORE_ALLOWANCES_MAX: usize = 65_536;
