//! Every limit of the system, named once: sizes, queues, retries, streams and timeouts.

use std::time::Duration;

/// Size of a request body after decompression. Bodies are held in memory to be retried and translated, so
/// this bounds the memory of one request.
pub const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How much larger than its compressed form a body may become, once it is past `BODY_RATIO_FREE_BYTES`. A
/// higher ratio is taken for a decompression bomb.
pub const BODY_RATIO_MAX: usize = 100;
/// Output below which the compression ratio is not checked: small repetitive bodies compress well.
pub const BODY_RATIO_FREE_BYTES: usize = 1024 * 1024;
/// Compressed input that is decompressed before other requests on the core get a turn. Decoding a ten-bit
/// block that produces no output takes 3 us, so this much input blocks the core for at most 3 ms.
pub const UNPACK_SLICE_BYTES: usize = 1024;
/// Compressed input after which a body is refused if it has produced less than one byte per
/// `UNPACK_IDLE_SHARE` bytes of input. No encoder makes its output more than a few bytes larger than its
/// input; zstd produces nothing until 128 KiB of a block have arrived, hence twice that.
pub const UNPACK_IDLE_BYTES_MAX: usize = 256 * 1024;
/// See `UNPACK_IDLE_BYTES_MAX`.
pub const UNPACK_IDLE_SHARE: usize = 4;
/// CPU time for decompressing one body, so that no body can be cheap to send and expensive to decode: a fixed
/// amount, plus `UNPACK_WORK_PER_MIB` for each MiB of output.
pub const UNPACK_WORK_FREE: Duration = Duration::from_millis(200);
pub const UNPACK_WORK_PER_MIB: Duration = Duration::from_millis(20);
/// Members (concatenated files) of one gzip body. Each allocates a new decoder.
pub const GZIP_MEMBERS_MAX: usize = 16;
/// Size of a `/v2` body. It carries configuration, never content.
pub const CONTROL_BODY_BYTES_MAX: usize = 1024 * 1024;
/// Size of a file upload with its multipart form: 512 MiB, the most that any provider stores, and 1 MiB for
/// the form.
pub const FILE_BYTES_MAX: usize = 513 * 1024 * 1024;
/// Rows on one page of a list of stored objects (files, batches, videos).
pub const KEPT_ROWS_MAX: u32 = 1_000;
/// Our file ids in one request. Each is looked up separately.
pub const FILES_NAMED_MAX: usize = 64;
/// The part of an uploaded form that is buffered, so that it can be sent again; the rest is streamed to the
/// upstream as it arrives.
pub const FORM_HELD_BYTES_MAX: usize = 1024 * 1024;
/// Nesting depth of JSON that is accepted, so that no document can exhaust a parser's stack.
pub const JSON_DEPTH_MAX: usize = 128;
/// Members in one JSON document, over all its objects. Bounds the time that scanning takes.
pub const JSON_KEYS_MAX: usize = 100_000;
/// Length of a model name. Names are copied into records, headers and error messages.
pub const MODEL_NAME_BYTES_MAX: usize = 256;
/// Length of an alias's name.
pub const ALIAS_NAME_BYTES_MAX: usize = 64;
/// Aliases of one workspace. They are in every snapshot.
pub const ALIASES_OF_WORKSPACE_MAX: usize = 200;
/// Releases of one alias. Each stays, so that it can be pinned; they are in every snapshot, too.
pub const RELEASES_OF_ALIAS_MAX: usize = 500;
/// Targets of one release of an alias. Planning may consider each.
pub const ALIAS_TARGETS_MAX: usize = 16;
/// A target's weight. Only the ratio counts.
pub const ALIAS_WEIGHT_MAX: u32 = 10_000;
/// Length of an alias's description and of a release's note: a few sentences.
pub const ALIAS_NOTE_BYTES_MAX: usize = 500;
/// How far back a canary is judged: a day.
pub const CANARY_WINDOW_S_MAX: u32 = 24 * 3_600;
/// Requests before a canary is judged, at most: more are not read at once.
pub const CANARY_REQUESTS_MAX: u32 = 5_000;
/// The part of an end user's name that is stored; the rest is cut.
pub const END_USER_BYTES_MAX: usize = 256;
/// Choices (`n`) per request; OpenAI's own limit.
pub const CHOICES_MAX: u32 = 128;
/// Length of the `Agent-Hints` header, and of stored hints; a longer header is ignored.
pub const HINTS_BYTES_MAX: usize = 8 * 1024;
/// The part of a name in hints, or of a reference to stored ones, that is repeated to its client.
pub const HINT_NAME_CHARS_MAX: usize = 64;
/// Stored hints of one workspace. Each is in every snapshot.
pub const HINTS_OF_WORKSPACE_MAX: usize = 200;
/// Reconciliations of a workspace; the oldest give way. A report is some 100 KB at most, and eight years of months are kept.
pub const RECONCILIATIONS_OF_WORKSPACE_MAX: usize = 100;
/// Length of a request's tag, a short word that routes match on.
pub const TAG_BYTES_MAX: usize = 128;
/// Versions that are kept of each route; the oldest go first.
pub const ROUTE_VERSIONS_MAX: u32 = 100;
/// Other models that a route's requests may go on with. Each is planned with every request of the route.
pub const MODEL_FALLBACKS_MAX: usize = 8;
/// Entries of metadata that a route's conditions may ask for.
pub const CONDITION_METADATA_MAX: usize = 16;
/// Length of an end user, of a name and of a value of metadata in a route's conditions: what is compared of a request's.
pub const CONDITION_TEXT_BYTES_MAX: usize = 256;
/// Entries of a request's metadata that conditions are compared with.
pub const REQUEST_METADATA_READ_MAX: usize = 64;
/// Size of all request headers together.
pub const HEADER_BYTES_MAX: usize = 64 * 1024;
/// Length of the line with a chunk's size and its extensions, of a client and of an upstream.
pub const CHUNK_LINE_BYTES_MAX: usize = 256;
/// Size of a chunked body's trailers, which are ignored.
pub const TRAILER_BYTES_MAX: usize = 8 * 1024;
/// Time for a client to send its headers; slower clients hold a connection for nothing (slowloris).
pub const HEADER_READ_TIME_MAX: Duration = Duration::from_secs(10);
/// Time before the minimum rate applies to a request body. After it, a body slower than
/// `BODY_RATE_MIN_BYTES_S` is given up.
pub const BODY_GRACE: Duration = Duration::from_secs(10);
/// Minimum rate of a request body, after `BODY_GRACE`.
pub const BODY_RATE_MIN_BYTES_S: u64 = 1024;
/// How long a client may leave its response unread before it counts as gone. Each byte that it reads earns it
/// the time that the byte takes at `WRITE_RATE_MIN_BYTES_S`.
pub const WRITE_STALL_MAX: Duration = Duration::from_secs(30);
/// See `WRITE_STALL_MAX`.
pub const WRITE_RATE_MIN_BYTES_S: u64 = 1024;
/// HTTP/2 frames that a client may send in a burst without requesting anything: pings, settings, priorities,
/// empty data. Each costs an answer or CPU time.
pub const H2_IDLE_FRAMES_MAX: u32 = 1_000;
/// The sustained rate of such frames.
pub const H2_IDLE_FRAMES_PER_S: u32 = 100;

/// Attempts of one exchange, over all its credentials and accounts.
pub const ATTEMPTS_MAX: u32 = 6;
/// Attempts with one credential or account before the next is tried.
pub const TRIES_PER_PRINCIPAL_MAX: u32 = 3;
/// The longest first pause between attempts. Pauses are random (full jitter); their ceiling doubles with each
/// retry, up to `BACKOFF_MAX`.
pub const BACKOFF_BASE: Duration = Duration::from_millis(200);
pub const BACKOFF_MAX: Duration = Duration::from_secs(8);
/// The longest `Retry-After` that is waited out. For a longer one the next credential or account is tried, or
/// the error returned.
pub const RETRY_AFTER_WAIT_MAX: Duration = Duration::from_secs(10);
/// The longest `Retry-After` that is sent to clients. SDKs sleep for as long as it says.
pub const RETRY_AFTER_SENT_MAX: Duration = Duration::from_secs(60);
/// Retry budget: the traffic that retries may add to an upstream, in per cent of its first attempts, or
/// `RETRY_BUDGET_FREE_PER_S`, whichever is more. These two numbers and `RETRY_BUDGET_KEPT` are Linkerd's defaults, which
/// adds the two up.
pub const RETRY_BUDGET_PERCENT: u32 = 20;
/// Retries per second that need no budget, so that an upstream with little traffic can be retried at all.
pub const RETRY_BUDGET_FREE_PER_S: u32 = 10;

/// Consecutive failures that open a circuit breaker.
pub const BREAKER_FAILURES: u32 = 5;
/// How long a breaker stays open the first time; each further opening without a success in between lasts
/// twice as long, up to `BREAKER_OPEN_MAX`.
pub const BREAKER_OPEN_FIRST: Duration = Duration::from_secs(5);
pub const BREAKER_OPEN_MAX: Duration = Duration::from_secs(120);
/// When a half-open breaker's trial request that nobody reported on counts as lost, so that it can't keep the
/// breaker shut: the longest waits for a connection and for a first byte together.
pub const BREAKER_TRIAL_MAX: Duration = Duration::from_secs(130);
/// The period over which the share of failures is measured that opens a breaker, if it is never this many in
/// a row: at least `OUTLIER_PERCENT` per cent of at least `OUTLIER_REQUESTS_MIN` requests.
pub const OUTLIER_WINDOW: Duration = Duration::from_secs(10);
pub const OUTLIER_REQUESTS_MIN: u32 = 20;
pub const OUTLIER_PERCENT: u32 = 50;
/// The share of a pool that open breakers may keep from being called, in per cent.
pub const EJECTED_PERCENT_MAX: usize = 50;
/// Hosts, regions, credentials and models that a process has a breaker for.
pub const BOARD_SCOPES_MAX: usize = 65_536;
/// How long a principal is left alone, where another can serve, after a 429 that names no time. Each further
/// one without an answer in between doubles it, up to `LIMIT_PAUSE_MAX`.
pub const LIMIT_PAUSE_FIRST: Duration = Duration::from_millis(500);
pub const LIMIT_PAUSE_MAX: Duration = Duration::from_secs(30);
/// How long a request waits for its turn within the limits that were agreed with a provider.
pub const PACE_WAIT_MAX: Duration = Duration::from_secs(1);
/// How long a request waits before it looks again whether one of the agreed concurrent requests has ended.
pub const PACE_LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often a parked credential or account is probed, over all cores together.
pub const PARKED_PROBE_EVERY: Duration = Duration::from_secs(60);
/// How often a core shares with the others how close a credential or account is to its provider's rate
/// limits.
pub const PROVIDER_LIMITS_SHARED_EVERY: Duration = Duration::from_secs(1);
/// The longest pause requested by a provider that is believed.
pub const REST_MAX: Duration = Duration::from_secs(24 * 3600);
/// How long unspent retry budget accumulates.
pub const RETRY_BUDGET_KEPT: Duration = Duration::from_secs(10);
/// Credentials and accounts that a core has state for.
pub const BOARD_PRINCIPALS_MAX: usize = 65_536;
/// Models of one credential or account that a core has state for. Bounded because clients may choose the
/// names.
pub const BOARD_MODELS_MAX: usize = 256;
/// Pairs of a credential, account or node and a model whose load and speed are measured over all cores; 0.6 KiB each.
pub const BOARD_MEASURED_MAX: usize = 16_384;
/// How long until a measured time counts half as much. After eight times as long it is forgotten.
pub const SPEED_HALF_LIFE: Duration = Duration::from_secs(120);
/// Upstreams that a core has a retry budget for.
pub const BOARD_UPSTREAMS_MAX: usize = 4_096;
/// Parked and resting credentials and accounts in the table that all cores share.
pub const BOARD_NOTICES_MAX: usize = 16_384;

/// Prefixes that are computed for one prompt. In a longer conversation those in the middle are skipped,
/// because conversations continue at their end.
pub const PREFIX_ENDS_MAX: usize = 48;
/// Prompts with less text are not examined for reusable prefixes, because no provider caches a shorter
/// prefix.
pub const PREFIX_PROMPT_BYTES_MIN: u64 = 2 * 1024;
/// Assumed minimum length of a cacheable prefix, where the manifest has none: the longest minimum known.
pub const CACHE_TOKENS_MIN_UNKNOWN: u64 = 4_096;
/// Assumed lifetime of a cached prefix, where the manifest has none: the shortest lifetime known.
pub const CACHE_LIFETIME_UNKNOWN: Duration = Duration::from_secs(300);
/// Prompt prefixes that are remembered for one workspace.
pub const PREFIXES_REMEMBERED_MAX: usize = 2_048;
/// Workspaces whose prompt prefixes are remembered; the least recently active are forgotten first.
pub const PREFIX_WORKSPACES_MAX: usize = 1_024;

/// How long a beginning of prompts may be cached by name on the gateway's own account of what pays, from the shortest;
/// a longer one costs more storage and fewer creations.
pub const CONTEXT_CACHE_TTLS_S: [u64; 3] = [300, 900, 3_600];
/// No request goes on from such a cache shortly before its end, since it may take as long until it is read.
pub const CONTEXT_CACHE_MARGIN: Duration = Duration::from_secs(10);
/// Beginnings of prompts whose uses are remembered for one workspace, and the uses of each; 0.8 KiB each.
pub const CONTEXTS_WATCHED_MAX: usize = 256;
pub const CONTEXT_USES_MAX: usize = 32;
/// Beginnings of one prompt that are looked at: the shortest, and the longest of the others.
pub const CONTEXTS_PER_PROMPT_MAX: usize = 12;
/// Caches that a workspace has at a time.
pub const CONTEXT_CACHES_MAX: usize = 32;
/// Requests in a row that may be refused beside a cache until it is given up: each is sent again without it.
pub const CONTEXT_REFUSALS_MAX: u32 = 3;
/// Caches that a process creates at a time. Each holds the beginning of a prompt.
pub const CONTEXT_CREATIONS_MAX: u32 = 8;
/// A cached prefix that is kept alive is read again so long before it expires, or a quarter of its lifetime.
pub const KEEP_ALIVE_MARGIN: Duration = Duration::from_secs(30);
/// How often in a row that is done. Beyond some eleven times, reads cost as much as writing the prefix once more.
pub const KEEP_ALIVE_REFRESHES_MAX: u8 = 6;
/// Prefixes of one workspace that are watched at a time, and the groups of them whose gaps are measured together.
pub const KEEP_ALIVE_WATCHED_MAX: usize = 256;
pub const KEEP_ALIVE_GROUPS_MAX: usize = 64;
/// How many prefixes must have been watched through a period before what they did says anything, and how many are
/// remembered: older ones count half.
pub const KEEP_ALIVE_SAMPLES_MIN: u32 = 8;
pub const KEEP_ALIVE_SAMPLES_MAX: u32 = 512;
/// The longest prompt that is held to be sent again, and what a process holds of them.
pub const KEEP_ALIVE_PROMPT_BYTES_MAX: usize = 4 << 20;
pub const KEEP_ALIVE_BYTES_MAX: usize = 64 << 20;
/// Refreshes that a process makes at a time.
pub const KEEP_ALIVE_RUNNING_MAX: u32 = 8;
/// How long nothing of a group is refreshed after a refresh that found nothing in the cache, and so paid for a write.
pub const KEEP_ALIVE_PAUSE: Duration = Duration::from_secs(3_600);

/// How long the response cache keeps an answer, where the project says nothing, and the longest it may say.
pub const RESPONSE_CACHE_TTL_S: u32 = 3_600;
pub const RESPONSE_CACHE_TTL_S_MAX: u32 = 7 * 24 * 3_600;
/// Answers that a process holds in memory beside the store, and their bytes; those that were asked for longest ago
/// are dropped first.
pub const RESPONSE_CACHE_ENTRIES_MAX: usize = 16_384;
pub const RESPONSE_CACHE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The longest request and answer that the response cache takes.
pub const RESPONSE_CACHE_REQUEST_BYTES_MAX: usize = 256 * 1024;
pub const RESPONSE_CACHE_BODY_BYTES_MAX: usize = 1024 * 1024;
/// How long a request waits for the same one that is being answered, before it goes on alone.
pub const RESPONSE_CACHE_WAIT_MAX: Duration = Duration::from_secs(120);
/// How alike two texts must be where the project says nothing, and the least that it may ask for: below that, most
/// models take any two sentences of one language for alike.
pub const SEMANTIC_CACHE_SIMILARITY_BPS: u16 = 9_500;
pub const SEMANTIC_CACHE_SIMILARITY_BPS_MIN: u16 = 5_000;
/// That of a text with itself.
pub const SEMANTIC_CACHE_SIMILARITY_BPS_MAX: u16 = 10_000;
/// How long the embedding of a text may take, before its request goes on without.
pub const SEMANTIC_CACHE_EMBEDDING_WAIT_MAX: Duration = Duration::from_secs(2);
/// The longest text that is compared: embeddings of longer ones tell less of what a detail changes.
pub const SEMANTIC_CACHE_TEXT_BYTES_MAX: usize = 8 * 1024;
/// The longest vector that is kept, and the longest answer that is read for one.
pub const SEMANTIC_CACHE_DIMENSIONS_MAX: usize = 4_096;
pub const SEMANTIC_CACHE_VECTOR_BYTES_MAX: usize = 256 * 1024;
/// Texts that are compared with one request: of those that differ from it in their last message alone, the newest.
pub const SEMANTIC_CACHE_TEXTS_MAX: usize = 512;

/// Text of one prompt or answer that is tokenised to estimate usage; the count of the rest is extrapolated.
/// Tokenising 100 KiB took a core 2 ms for prose or code, 5 ms for Chinese, and at worst (one repeated
/// letter, or blanks) 16 ms.
pub const COUNTED_BYTES_MAX: usize = 128 * 1024;
/// The longest body of a streamed request that is held until the answer ends, in case its tokens have to be
/// estimated.
pub const COUNTED_BODY_BYTES_MAX: usize = 64 * 1024;
/// Models for which the ratio of bytes to tokens is learned; those with the fewest observations are forgotten
/// first.
pub const RATIOS_MAX: usize = 1_024;

/// Time to open a connection to an upstream, TLS included.
pub const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// Time until the first byte of an upstream's answer.
pub const FIRST_BYTE_TIME_MAX: Duration = Duration::from_secs(120);
/// Time between two reads of an upstream's answer.
pub const IDLE_TIME_MAX: Duration = Duration::from_secs(60);
/// Time for one exchange, from its first byte to its last.
pub const DEADLINE: Duration = Duration::from_secs(600);
/// Time for verifying a credential or node. A person waits for it.
pub const VERIFY_TIME_MAX: Duration = Duration::from_secs(20);
/// Time for one call of a compatibility probe, which finds out what a server supports.
pub const PROBE_CALL_TIME_MAX: Duration = Duration::from_secs(10);
/// Time for all calls of a probe together. A person waits for it.
pub const PROBE_TIME_MAX: Duration = Duration::from_secs(20);
/// The part of a probed server's answer that is read.
pub const PROBE_ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Time to query a runtime's state. A person waits for it, and a list of runtimes is shown when the slowest
/// has answered.
pub const RUNTIME_QUERY_TIME_MAX: Duration = Duration::from_secs(10);
/// Time for an operation on a runtime: loading an adapter from disk, or counting the tokens of a training
/// job.
pub const RUNTIME_ACT_TIME_MAX: Duration = Duration::from_secs(50);
/// The part of a runtime's answer that is read.
pub const RUNTIME_ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Nodes of a workspace that are queried for one list.
pub const RUNTIMES_QUERIED_MAX: usize = 100;
/// Time to read the body of an upstream's error. Its status alone says enough.
pub const REFUSAL_TIME_MAX: Duration = Duration::from_secs(5);
/// Size of the answer to one step of a token exchange (OAuth, STS, metadata service).
pub const GRANT_BYTES_MAX: usize = 64 * 1024;
/// Steps of one token exchange. No provider needs more; it ends an exchange that never does.
pub const GRANT_STEPS_MAX: usize = 6;
/// Time for all steps of a token exchange.
pub const GRANT_TIME_MAX: Duration = Duration::from_secs(20);
/// How long a failed token exchange is answered from memory, so that waiting requests don't each repeat it.
pub const GRANT_REFUSED_FOR: Duration = Duration::from_secs(1);
/// Size of the provider state that is stored for one turn, such as signed thinking blocks; larger states are
/// not stored.
pub const KEPT_TURN_BYTES_MAX: usize = 1024 * 1024;
/// The most parts in which an answer of `/v1/responses` is stored; each is of at most `KEPT_TURN_BYTES_MAX`.
pub const KEPT_RESPONSE_PARTS_MAX: usize = 8;
/// The largest audio upload for a provider that takes recordings as a JSON document, for which the recording
/// is held in memory.
pub const RECORDING_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Further URLs that an answer may lead to before the result is there; it ends a chain of references that
/// never does.
pub const FOLLOW_UPS_MAX: usize = 4;
/// The part of an upstream's error body that is read.
pub const REFUSAL_BYTES_MAX: usize = 64 * 1024;
/// How long the headers of a stream are held back for the upstream's first event, so that an early error
/// still gets its own status.
pub const HEAD_WAIT: Duration = Duration::from_secs(20);
/// Interval of the comments that keep a silent stream's connection open.
pub const PING_EVERY: Duration = Duration::from_secs(15);
/// A server drops unsent data when a body fails, so the error event gets this long to be sent.
pub const ERROR_EVENT_LINGER: Duration = Duration::from_millis(10);

/// Size of an upstream's buffered answer, after decompression.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Size of one event of a stream.
pub const EVENT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Tool calls, and other numbered parts, of an answer that is assembled from a stream.
pub const ASSEMBLED_CALLS_MAX: usize = 1024;
/// Data that a stream buffers for a slow client before it stops reading the upstream (backpressure).
pub const STREAM_BUFFER_BYTES_MAX: usize = 256 * 1024;
/// Chunks that have already arrived are sent to the client together, up to this size, to save writes.
pub const STREAM_PIECE_BYTES: usize = 16 * 1024;
/// The part of a provider's error message that is passed on.
pub const UPSTREAM_MESSAGE_BYTES_MAX: usize = 1024;
/// Length of an identifier in a provider's error, such as its code. A longer text is not taken for one.
pub const UPSTREAM_WORD_BYTES_MAX: usize = 128;
/// Length of a provider's request id. A longer one is ignored.
pub const UPSTREAM_REQUEST_ID_BYTES_MAX: usize = 128;
/// The longest wait that is read from a provider. Anything longer means "not today", and the bound keeps
/// arithmetic on it from overflowing.
pub const UPSTREAM_WAIT_MS_MAX: u64 = 30 * 24 * 3600 * 1000;

/// Concurrent streams on one HTTP/2 connection to an upstream before another connection is opened; servers
/// commonly allow 100.
pub const H2_STREAMS_PER_CONNECTION: usize = 90;
/// Idle connections that a core holds to one host.
pub const IDLE_CONNECTIONS_PER_HOST: usize = 256;
/// How long an idle connection to an upstream is held; servers close theirs, too, commonly after 60 s.
pub const IDLE_CONNECTION_TIME_MAX: Duration = Duration::from_secs(50);

/// How often a stream's usage so far is written to the journal: after this many bytes or `CHECKPOINT_EVERY`,
/// whichever is first. A crash loses at most this much of the count.
pub const CHECKPOINT_BYTES: u64 = 64 * 1024;
pub const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);
/// `fdatasync` follows a journal write within this time, so that one sync covers many writes.
pub const JOURNAL_SYNC_EVERY: Duration = Duration::from_millis(5);
/// Size of a journal segment. Segments are allocated ahead and recycled.
pub const JOURNAL_SEGMENT_BYTES: u64 = 8 * 1024 * 1024;
/// Size of one journal record.
pub const JOURNAL_RECORD_BYTES_MAX: usize = 256 * 1024;
/// Length of a text from the client or the provider in a record; the rest is cut at a character boundary.
pub const RECORD_TEXT_BYTES_MAX: usize = 256;
/// Length of a failed exchange's error message in a record, and of the advice with it; the rest is cut at a
/// character boundary.
pub const RECORD_REASON_BYTES_MAX: usize = 1024;
/// Candidates, and rejections, that a record lists.
pub const RECORD_PLAN_ROWS_MAX: usize = 32;
/// How often the drainer polls for settled records. They must be visible within a second, and each batch is a
/// commit.
pub const DRAIN_EVERY: Duration = Duration::from_millis(200);

/// Size of a document that `/v1/run` fetches or decodes.
pub const DOCUMENT_BYTES_MAX: usize = 20 * 1024 * 1024;
/// Time to fetch such a document.
pub const DOCUMENT_TIME_MAX: Duration = Duration::from_secs(10);
/// Redirects while fetching one; each target is checked again.
pub const DOCUMENT_REDIRECTS_MAX: u32 = 3;

/// How often a node without a declared model list is polled for its models.
pub const NODE_POLL_EVERY: Duration = Duration::from_secs(30);
/// Missed heartbeats after which a joined node counts as offline.
pub const NODE_BEATS_MISSED_MAX: u32 = 3;
/// Joined nodes whose address is checked at the same time; the others queue.
pub const JOINED_POLLED_AT_ONCE: usize = 8;
/// Length of an adapter's name.
pub const ADAPTER_NAME_BYTES_MAX: usize = 128;
/// Models that a node may report.
pub const NODE_MODELS_MAX: usize = 1_000;
/// A node's first pause before it calls an unreachable control plane again; the pauses grow up to
/// `NODE_BACKOFF_MAX`, with jitter.
pub const NODE_BACKOFF_BASE: Duration = Duration::from_secs(1);
pub const NODE_BACKOFF_MAX: Duration = Duration::from_secs(60);
/// Pause between two reports of a node when there is no backlog.
pub const NODE_REPORT_EVERY: Duration = Duration::from_secs(1);
/// Time for one call from a node to its control plane.
pub const NODE_CALL_TIME_MAX: Duration = Duration::from_secs(30);
/// The part of the control plane's answer that a node reads.
pub const NODE_CALL_BYTES_MAX: usize = 64 * 1024;
/// Usage records in one report of a node.
pub const NODE_RECORDS_MAX: usize = 500;
/// Lifetime of a join token when none is given.
pub const JOIN_TOKEN_TIME: Duration = Duration::from_secs(3_600);
/// The longest lifetime of a join token.
pub const JOIN_TOKEN_TIME_MAX: Duration = Duration::from_secs(7 * 86_400);
/// How long an expired join token is remembered, so that the error for it can say that it expired.
pub const JOIN_TOKEN_KEPT: Duration = Duration::from_secs(7 * 86_400);
/// Rows on one `/v2` page.
pub const PAGE_ROWS_MAX: u32 = 1000;
/// Entries in one proof of the audit log.
pub const AUDIT_PROOF_ROWS_MAX: u32 = 10_000;
/// Rows on a `/v2` page when no number is given.
pub const PAGE_ROWS_DEFAULT: u32 = 50;
/// Keys or projects that one name in a filter may match.
pub const FILTER_NAMED_MAX: u32 = 1_000;
/// Commands that wait for a step of an engine to end, and requests that wait to be prepared for it. A request
/// that finds so many is refused like one that finds the queue full.
pub const ENGINE_COMMANDS_MAX: usize = 4_096;
/// How long a shutdown waits for streams before it cuts them.
pub const DRAIN_STREAMS_MAX: Duration = Duration::from_secs(600);
/// How long a shutdown waits for one of its tasks, once the streams have ended.
pub const CLOSING_TIME_MAX: Duration = Duration::from_secs(600);
/// How long a shutdown waits for the calls of the store that one part has in flight.
pub const STORE_CLOSING_TIME_MAX: Duration = Duration::from_secs(2);
/// How long a shutdown waits for the first byte on connections that were already open: a request may be on
/// its way.
pub const DRAIN_FIRST_BYTE_MAX: Duration = Duration::from_secs(1);
/// How long a shutdown waits for half-open connections after it stops accepting new ones: one long round
/// trip.
pub const DRAIN_HANDSHAKE_MAX: Duration = Duration::from_millis(100);

/// Time without use after which a signed-in session ends.
pub const SESSION_IDLE_MAX: Duration = Duration::from_secs(12 * 3_600);
/// Lifetime of a session, however much it is used.
pub const SESSION_TIME_MAX: Duration = Duration::from_secs(7 * 86_400);
/// Lifetime of a sign-in link, which works once.
pub const LINK_TIME_MAX: Duration = Duration::from_secs(600);
/// Lifetime of an invitation.
pub const INVITATION_TIME_MAX: Duration = Duration::from_secs(7 * 86_400);
/// How long a device waits for its user's approval (RFC 8628).
pub const DEVICE_TIME_MAX: Duration = Duration::from_secs(600);
/// The shortest interval between a device's polls; the RFC's default.
pub const DEVICE_POLL_EVERY: Duration = Duration::from_secs(5);
/// Devices that wait for approval at the same time, over all workspaces.
pub const DEVICES_WAITING_MAX: u32 = 1_000;
/// Lifetime of a key that a device received.
pub const DEVICE_KEY_TIME_MAX: Duration = Duration::from_secs(90 * 86_400);
/// The shortest password: long enough that a stolen hash is worth nothing.
pub const PASSWORD_CHARS_MIN: usize = 12;
/// The longest password: short enough that hashing it costs nothing.
pub const PASSWORD_BYTES_MAX: usize = 1_024;

/// How long a job stays leased to a worker without a renewal. Workers renew three times as often.
pub const JOB_LEASE: Duration = Duration::from_secs(30);
/// How often a process polls for jobs that are due.
pub const JOB_POLL_EVERY: Duration = Duration::from_millis(250);
/// Jobs that a process runs at the same time.
pub const JOBS_AT_ONCE: usize = 32;
/// Of these, jobs of one workspace, so that none can occupy a whole process.
pub const JOBS_AT_ONCE_OF_WORKSPACE: usize = 8;
/// How long a stopping process waits for its running jobs.
pub const JOB_GOODBYE_MAX: Duration = Duration::from_secs(5);
/// The part of a job's error that is stored.
pub const JOB_ERROR_BYTES_MAX: usize = 512;
/// How long abandoned jobs and delivered events are stored.
pub const EVENTS_KEPT: Duration = Duration::from_secs(30 * 86_400);

/// Time for one webhook call.
pub const WEBHOOK_TIME_MAX: Duration = Duration::from_secs(15);
/// How long delivery of an event is retried.
pub const WEBHOOK_OFFERED_MAX: Duration = Duration::from_secs(3 * 86_400);
/// How long the previous webhook secret still signs after a rotation.
pub const WEBHOOK_OVERLAP: Duration = Duration::from_secs(24 * 3_600);
/// The longest that a hook of a policy may take.
pub const POLICY_HOOK_TIME_MAX: Duration = Duration::from_secs(10);
/// Hooks of one policy. All of one point are called at once.
pub const POLICY_HOOKS_MAX: usize = 4;
/// The text of a request or an answer that a hook is sent.
pub const POLICY_HOOK_CONTENT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What is read of a hook's answer.
pub const POLICY_HOOK_ANSWER_BYTES_MAX: usize = 16 * 1024;
/// Webhooks of one workspace.
pub const WEBHOOKS_OF_WORKSPACE_MAX: u32 = 32;
/// Alert rules of one workspace: each is measured once a minute.
pub const ALERT_RULES_OF_WORKSPACE_MAX: u32 = 50;
/// How long before a credential's expiry its workspace is notified.
pub const CREDENTIAL_EXPIRY_NOTICES: [Duration; 3] =
    [Duration::from_secs(14 * 86_400), Duration::from_secs(3 * 86_400), Duration::from_secs(86_400)];

/// Windows in which the use of one subscription is capped. Planning compares each.
pub const SUBSCRIPTION_WINDOWS_MAX: usize = 4;
/// Subscriptions whose use a gateway counts.
pub const SUBSCRIPTIONS_COUNTED_MAX: usize = 65_536;
/// How often the use of subscriptions is compared with the books, which know of what other gateways sent.
pub const SUBSCRIPTIONS_COUNTED_EVERY: Duration = Duration::from_secs(5);

/// Finalised months that a new invoice is compared with, to bill records that arrived late.
pub const INVOICE_ADJUSTED_MONTHS: usize = 12;
/// Models with an invoice line of their own; the others share one.
pub const INVOICE_MODEL_LINES_MAX: usize = 200;
/// Characters in an idempotency key.
pub const IDEMPOTENCY_KEY_CHARS_MAX: usize = 255;
/// How long a stored answer is replayed for its idempotency key.
pub const ANSWER_KEPT: Duration = Duration::from_secs(24 * 3_600);
/// How long a task is stored after its end.
pub const TASK_KEPT: Duration = Duration::from_secs(24 * 3_600);
/// Tasks of one project that have not ended.
pub const TASKS_OPEN_MAX: u64 = 100_000;
/// How long the provider state of a turn is stored.
pub const TURN_KEPT: Duration = Duration::from_secs(24 * 3_600);
/// Memory for the turns that a process caches, over all workspaces.
pub const TURNS_REMEMBERED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long a cached turn is trusted before the store is read again, since another process may have purged
/// it.
pub const TURN_CACHED_FOR: Duration = Duration::from_secs(600);
/// Memory for turns that wait to be written to the store. Beyond it turns are only cached.
pub const TURNS_WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long a request waits for its turns to be read from the store.
pub const TURN_FIND_TIME_MAX: Duration = Duration::from_secs(2);
/// Tool calls of one conversation whose turns are looked up; the newest, if there are more.
pub const TURN_CALLS_MAX: usize = 1024;
/// How long it is remembered who created a stored response. Providers store responses for as long.
pub const RESPONSE_KNOWN: Duration = Duration::from_secs(30 * 24 * 3_600);
/// Length of a stored response's id. A longer one, or one with characters other than letters, digits, `-` and
/// `_`, is not remembered.
pub const RESPONSE_ID_BYTES_MAX: usize = 256;
/// The same for other stored objects. Some ids of videos contain all that is known of the video, so they are
/// longer.
pub const KEPT_ID_BYTES_MAX: usize = 1_024;
/// What is kept of a request's body, and of its answer's, where its project keeps content.
pub const CONTENT_BYTES_MAX: usize = 1024 * 1024;
/// Contents of requests that wait to be written to the store, and their bytes; beyond that they are not kept.
pub const CONTENTS_WAITING_MAX: usize = 4_096;
pub const CONTENT_WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long a project may keep content.
pub const CONTENT_DAYS_MAX: u32 = 3_650;
/// Stored responses that wait to be written to the store; beyond that they are not remembered.
pub const RESPONSES_WAITING_MAX: usize = 16_384;
/// How long a request waits for the store to say who created a response, or whether it may book the
/// response's usage.
pub const RESPONSE_FIND_TIME_MAX: Duration = Duration::from_secs(2);
/// Size of the turns of one conversation that are read from the store, newest first.
pub const TURNS_FOUND_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The time that a batch has which the gateway works through itself; what has not begun by then expires.
pub const BATCH_TIME: Duration = Duration::from_secs(24 * 3_600);
/// How long such a batch and its results are kept.
pub const BATCH_KEPT: Duration = Duration::from_secs(29 * 24 * 3_600);
/// Requests in a file that such a batch is made of.
pub const BATCH_FILE_REQUESTS_MAX: usize = 50_000;
/// Requests of such batches that may wait in one project.
pub const BATCH_ITEMS_WAITING_MAX: u64 = 200_000;
/// How long the creation of such a batch waits for the store.
pub const BATCH_KEEP_TIME_MAX: Duration = Duration::from_secs(120);
/// A claim on an idempotency key that is not renewed for this long is free: its process died.
pub const CLAIM_TIME_MAX: Duration = Duration::from_secs(60);
/// How often a process renews the claims of the requests that it is answering.
pub const CLAIM_EXTENDED_EVERY: Duration = Duration::from_secs(15);
/// How long a request with an idempotency key waits for the store before it is refused.
pub const CLAIM_WAIT_MAX: Duration = Duration::from_secs(3);
/// How long the end of an answer is held back until the answer is stored for replay.
pub const KEEP_WAIT_MAX: Duration = Duration::from_secs(1);
/// How long a request waits for settlements and leases before a budget refuses it.
pub const BUDGET_WAIT_MAX: Duration = Duration::from_secs(2);
/// How long a request waits for what other replicas hold of a commitment before it counts as used up.
pub const COMMITMENT_WAIT_MAX: Duration = Duration::from_millis(800);
/// How long a commitment that was found used up counts as such before it is asked again: what requests reserved
/// and did not use comes back meanwhile.
pub const COMMITMENT_SPENT_TIME: Duration = Duration::from_secs(5);
/// Requests that wait for one budget; more are refused.
pub const BUDGET_WAITING_MAX: usize = 10_000;
/// How long a replica that has lost the central store may spend from its leases. The centre takes a lease
/// back only after this and `LEASE_SKEW_MAX`.
pub const LEASE_TIME_MAX: Duration = Duration::from_secs(15 * 60);
/// The most that the clocks of the database and of a replica may drift apart within a lease's time.
pub const LEASE_SKEW_MAX: Duration = Duration::from_secs(60);
/// How often leases are renewed, and so how soon a lost call to return them is repeated.
pub const LEASE_RENEW_EVERY: Duration = Duration::from_secs(60);
/// How long a part of a lease may stay unused before it is returned to the centre.
pub const LEASE_IDLE_MAX: Duration = Duration::from_secs(10);
/// The largest slice of a budget that a replica leases at once, in per cent of the budget. It is also at most
/// half of an equal share of what is free, so that no replica starves the others.
pub const LEASE_SLICE_PERCENT_MAX: i64 = 1;
/// A replica that has not been seen for this long gets no share.
pub const REPLICA_SEEN_MAX: Duration = Duration::from_secs(3 * 60);
/// The largest budget: ten million USD. A hundred times as much still fits the arithmetic.
pub const BUDGET_MICROS_MAX: u64 = 10_000_000_000_000;
/// Assumed output limit of a model without a known one, for reserving money.
pub const OUTPUT_TOKENS_UNKNOWN: u64 = 32_768;
/// Assumed length of a prompt that is cached by name, where the model's context is not known.
pub const CACHED_TOKENS_UNKNOWN: u64 = 1_048_576;
/// The same for a response in a realtime session.
pub const REALTIME_OUTPUT_TOKENS_MAX: u64 = 4_096;
/// Encoded size of one realtime audio token, which is 50 ms of sound: 24 kHz, two bytes a sample, base64.
pub const REALTIME_SOUND_BYTES_PER_TOKEN: u64 = 3_200;
/// Size of one message in a realtime session, in either direction.
pub const REALTIME_MESSAGE_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// The part of a realtime message that is parsed; a longer message is classified by its beginning.
pub const REALTIME_READ_BYTES_MAX: usize = 1024 * 1024;
/// The longest client message that is held until it has been parsed. Of a longer one, all but the end is
/// forwarded before.
pub const REALTIME_HELD_BYTES_MAX: usize = 16 * 1024;
/// Data that may wait for a slow side of a realtime session before the other side is no longer read
/// (backpressure).
pub const REALTIME_WAITING_BYTES_MAX: usize = 128 * 1024;
/// A realtime session without messages for this long is ended.
pub const REALTIME_IDLE_MAX: Duration = Duration::from_secs(15 * 60);
/// Responses in progress in one realtime session.
pub const REALTIME_RESPONSES_MAX: usize = 16;
/// How long each side of a realtime session has to answer a close frame.
pub const REALTIME_CLOSE_WAIT: Duration = Duration::from_secs(5);
/// How long a shutdown waits for a realtime session with a response in progress: ten seconds less than for
/// streams, to close it properly.
pub const REALTIME_DRAIN_MAX: Duration = Duration::from_secs(590);
/// The first pause between polls of a request in a provider's queue; the pauses grow up to `QUEUE_POLL_PAUSE_MAX`.
pub const QUEUE_POLL_PAUSE_FIRST: Duration = Duration::from_millis(100);
pub const QUEUE_POLL_PAUSE_MAX: Duration = Duration::from_secs(2);
/// Consecutive polls that may fail.
pub const QUEUE_POLLS_FAILED_MAX: u32 = 3;
/// The most tokens that one image is assumed to take, for reserving money.
pub const IMAGE_TOKENS_MAX: u64 = 8_192;
/// The most text that is assumed to come with an image edit of which a part has not arrived yet: 32,000
/// characters of four bytes.
pub const PICTURE_TEXT_BYTES_MAX: u64 = 128_000;
/// The most images that are assumed to come with it: sixteen and a mask.
pub const PICTURES_SENT_MAX: u64 = 17;
/// The most that one image is assumed to be billed, in millionths of a unit that is a megapixel: 4096 by
/// 4096.
pub const IMAGE_UNITS_MAX: u64 = 16_000_000;
/// The same for a character of speech synthesis, where the unit is a second of audio or a thousand
/// characters: no voice takes more than a tenth of a second per character.
pub const CHARACTER_UNITS_MAX: u64 = 100_000;
/// The same for a millisecond of transcribed audio, where the unit is a second of machine time: no model is
/// slower than real time.
pub const SOUND_UNITS_OF_MS_MAX: u64 = 1_000;
/// Searches of each kind that money is reserved for where a model may search as often as it likes.
pub const HOSTED_SEARCHES_MAX: u64 = 16;
/// The most audio tokens that one character of speech is assumed to take.
pub const AUDIO_TOKENS_OF_A_CHARACTER_MAX: u64 = 4;
/// Rate limits and leases that a core caches.
pub const CORE_ALLOWANCES_MAX: usize = 65_536;

/// Requests that one purge names.
pub const PURGE_REQUESTS_MAX: usize = 1_000;
/// Requests whose records a purge reads, to know whom they were sent to and which are of a key.
pub const PURGE_REQUESTS_READ_MAX: usize = 1_000_000;
/// How often a purge tries a place before it states that something is left.
pub const PURGE_TRIES_MAX: u32 = 4;
/// The content of a file is stored in pieces of this size; the last of each request may be shorter.
pub const STORED_PIECE_BYTES: usize = 4 * 1024 * 1024;
/// The first part of a file that is sent in several, as its beginning shows what the file is.
pub const FIRST_PART_BYTES_MIN: usize = 4 * 1024;
/// What is there of a part that broke off is stored from this size on.
pub const BROKEN_PART_BYTES_MIN: usize = 256 * 1024;
/// The length of a file's name, of its type, and of the path that its client gives it.
pub const FILE_NAME_BYTES_MAX: usize = 512;
pub const CONTENT_TYPE_BYTES_MAX: usize = 128;
pub const FILE_PATH_BYTES_MAX: usize = 1_024;
/// Files that one request makes.
pub const FILES_MADE_AT_ONCE_MAX: usize = 100;
/// Tokens of one prompt, and of one answer, that an upstream may report: more than any model reads or writes.
pub const ANSWER_TOKENS_MAX: u64 = u32::MAX as u64;
/// Units of one kind besides tokens: milliseconds of five centuries, or as many millionths of a billed unit.
pub const ANSWER_UNITS_MAX: u64 = 1 << 44;
