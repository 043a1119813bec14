//! What a request costs the serving thread in instructions and allocations: counted by callgrind, so that the
//! figures don't depend on the load of the machine. They are for the build that all tests use, which needs no
//! separate build.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Instant;

use harness::process::tidegate;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::{CHAT, MINI, question, with};
use crate::command::workspace;
use crate::gateway::{Gateway, OWN, config};
use crate::wait::found;

/// The accepted counts. `UPDATE_COUNTS=1` writes them.
const KEPT: &str = "bench/hot-path.json";
/// Whether `make test` made this build, which the kept counts are of: its compiler and its code generation inline differently from those
/// of other builds.
const IS_OF_MAKE_TEST: bool = option_env!("CLIPPY_ARGS").is_some();
/// In percent: a larger increase is a change of the hot path that must be intended.
const MARGIN: u64 = 2;
/// What a hit of the response cache may cost, in percent of a request that is passed on. It goes through less of other people's code, which this
/// build compiles without debug assertions, and ours with them.
const HIT_PERCENT: u64 = 67;
const WARM_UP: u64 = 40;
/// What is counted together: some of what a request allocates serves several.
const REQUESTS: u64 = 10;
/// So many bursts in a row have to cost no less than one before them.
const BURSTS: usize = 12;
/// As many are counted, at most, while the least of them costs more than the kept count allows.
const BURSTS_MAX: usize = 5 * BURSTS;
/// Chunks in the shorter and in the longer stream: the two differ by chunks alone.
const CHUNKS: [usize; 2] = [4, 28];
/// Pairs of a shorter and a longer stream that are compared, at least.
const PAIRS: usize = 9;
/// Calls of these are counted beside the instructions: one turn of the event loop, and one poll of a task.
const TURN: &str = "tokio::runtime::time::Driver::park_internal";
const POLL: &str = "tokio::runtime::task::raw::poll";
/// The crates of the stages that only a serving thread goes through.
const STAGES: [&str; 4] = ["admit::", "execute::", "gateway::handle::", "relay::"];
const ANSWER: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"gpt-4o-mini","choices":[{"index":0,"message":{"role":"assistant","content":"You said: hello there","refusal":null},"finish_reason":"stop","logprobs":null}],"usage":{"prompt_tokens":8,"completion_tokens":4,"total_tokens":12}}"#;
const CHUNK: &str = r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-4o-mini","choices":[{"index":0,"delta":{"content":"word "},"finish_reason":null}],"usage":null}"#;
const LAST: &str = r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-4o-mini","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}"#;
const USAGE: &str = r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-4o-mini","choices":[],"usage":{"prompt_tokens":8,"completion_tokens":60,"total_tokens":68}}"#;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Count {
    instructions: u64,
    allocations: u64,
}

/// What a thread did between two dumps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Work {
    count: Count,
    turns: u64,
    polls: u64,
    /// How many functions of the stages of a request it went through.
    stages: usize,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Counts {
    ten_requests: Count,
    stream_chunk: Count,
    /// Requests that the response cache answers.
    ten_cache_hits: Count,
}

/// An upstream that answers the same each time and streams in lockstep: it sends a chunk when the client has
/// read the one before, so that two are never read together, however busy the machine is.
struct Lockstep {
    address: SocketAddr,
    turns: mpsc::Sender<()>,
}

impl Lockstep {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (turns, turn) = mpsc::channel();
        let turn = Arc::new(Mutex::new(turn));
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let turn = Arc::clone(&turn);
                std::thread::spawn(move || answer_all(socket, &turn));
            }
        });
        Self { address, turns }
    }
}

fn answer_all(mut socket: TcpStream, turn: &Mutex<mpsc::Receiver<()>>) {
    socket.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(socket.try_clone().unwrap());
    while let Some(request) = read_request(&mut reader) {
        if request["stream"] != true {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length:";
            socket.write_all(format!("{head} {}\r\n\r\n{ANSWER}", ANSWER.len()).as_bytes()).unwrap();
            continue;
        }
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        socket.write_all((head.to_owned() + &framed(&[CHUNK])).as_bytes()).unwrap();
        for _ in 1..request["max_tokens"].as_u64().unwrap() {
            turn.lock().unwrap().recv().unwrap();
            socket.write_all(framed(&[CHUNK]).as_bytes()).unwrap();
        }
        socket.write_all((framed(&[LAST, USAGE, "[DONE]"]) + "0\r\n\r\n").as_bytes()).unwrap();
    }
}

/// The body of the next request; `None` when the connection ends.
fn read_request(reader: &mut impl BufRead) -> Option<Value> {
    let (mut length, mut line) = (0, String::new());
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.to_ascii_lowercase().strip_prefix("content-length:") {
            Some(value) => length = value.trim().parse().unwrap(),
            None if line == "\r\n" => break,
            None => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(serde_json::from_slice(&body).unwrap_or_default())
}

/// One chunk of a chunked body that holds these events.
fn framed(events: &[&str]) -> String {
    let text: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// The gateway under callgrind, and one persistent connection to it.
struct Counted {
    gateway: Gateway,
    upstream: Lockstep,
    wire: TcpStream,
    counts: tempfile::TempDir,
    dumps: u64,
    /// The number of the serving thread, once it has been identified by its work.
    thread: Option<u64>,
}

impl Counted {
    async fn start() -> Self {
        let counts = tempfile::tempdir().unwrap();
        let program = under_callgrind(counts.path());
        let gateway = Gateway::of(program, config(), &[("TIDEGATE_WORKERS", "1")]).await;
        let upstream = Lockstep::start();
        let base_url = format!("http://{}/v1", upstream.address);
        let secret = json!({"provider": "openai", "secret": OWN, "base_url": base_url});
        let made =
            gateway.admin().within(3 * WITHIN).post("/v2/provider-credentials", &secret).await.unwrap();
        assert!(made.status < 300, "{}", made.text());
        let wire = TcpStream::connect(gateway.address()).unwrap();
        wire.set_read_timeout(Some(3 * WITHIN)).unwrap();
        wire.set_nodelay(true).unwrap();
        Self { gateway, upstream, wire, counts, dumps: 0, thread: None }
    }

    fn control(&self, option: &str) {
        let output = Command::new("callgrind_control")
            .args(option.split(' '))
            .arg(self.gateway.pid().to_string())
            .output();
        let output = output.expect("callgrind_control is missing: run scripts/test-env.sh");
        assert!(output.status.success(), "{output:?}");
    }

    /// Sends a request and reads the answer to its end, `0\r\n\r\n` if it is chunked. Each event that was
    /// read lets the upstream send the next.
    fn ask(&mut self, body: &Value) {
        let mut turns = if body["stream"] == true { body["max_tokens"].as_u64().unwrap() - 1 } else { 0 };
        let mut events = 0;
        let body = body.to_string();
        let head = format!(
            "POST {CHAT} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            self.gateway.founded.api_key,
            body.len()
        );
        self.wire.write_all((head + &body).as_bytes()).unwrap();
        let mut answer = Vec::new();
        let mut buffer = [0; 16 * 1024];
        while !is_whole(&answer) {
            let count = self.wire.read(&mut buffer).unwrap();
            assert!(count > 0, "closed after {}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&buffer[..count]);
            let all = String::from_utf8_lossy(&answer).matches("data: ").count();
            for _ in events..all {
                if turns > 0 {
                    turns -= 1;
                    self.upstream.turns.send(()).unwrap();
                }
            }
            events = all;
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    }

    /// What a chunk of a stream costs: the difference between two streams, by the chunks that one has more.
    ///
    /// How a stream begins and ends depends on the machine's load: whether what arrives finds the event loop
    /// waiting or still at work, and whether a checkpoint falls into it. A pair is therefore compared only if the longer one
    /// took exactly a turn and a poll more for each chunk that it has more. The median of such pairs counts.
    async fn chunk(&mut self) -> Count {
        let more = (CHUNKS[1] - CHUNKS[0]) as u64;
        let (mut streams, deadline) = ([Vec::new(), Vec::new()], Instant::now() + 9 * WITHIN);
        loop {
            for (chunks, streams) in CHUNKS.into_iter().zip(&mut streams) {
                let body = with(question(MINI), json!({"stream": true, "max_tokens": chunks}));
                streams.push(self.count(|counted| counted.ask(&body)).await);
            }
            let pairs = pairs(&streams, more);
            if pairs.len() >= PAIRS {
                let median = median(&pairs);
                // A chunk may allocate nothing: then the difference is noise. Rounds to the nearest.
                let each = |all| (all + more / 2) / more;
                return Count {
                    instructions: each(median.instructions),
                    allocations: each(median.allocations),
                };
            }
            assert!(Instant::now() < deadline, "{} pairs are alike: {streams:?}", pairs.len());
        }
    }

    /// What [`REQUESTS`] of these cost. The thread also does things by the clock, of which more fall among requests on a slow
    /// machine; they only add to what the requests cost, so the least of the bursts counts, once it stays the least. Where
    /// neighbours are so busy that something falls into each burst of a dozen, it costs more than `allowed`, and more are counted.
    async fn requests(&mut self, body: &Value, allowed: u64) -> Count {
        let mut least = Count { instructions: u64::MAX, allocations: u64::MAX };
        let (mut bursts, mut since) = (0, 0);
        while since < BURSTS || (least.instructions > allowed && bursts < BURSTS_MAX) {
            bursts += 1;
            let Count { instructions, allocations } =
                self.count(|counted| (0..REQUESTS).for_each(|_| counted.ask(body))).await.count;
            since = if instructions < least.instructions { 0 } else { since + 1 };
            least.instructions = least.instructions.min(instructions);
            least.allocations = least.allocations.min(allocations);
        }
        least
    }

    /// What requests cost that the response cache answers.
    async fn hits(&mut self, body: &Value, allowed: u64) -> Count {
        let project = format!("/v2/projects/{}", self.gateway.founded.project_id);
        let keep = json!({"caching": {"responses": {"mode": "exact"}}}).to_string();
        let json = [("content-type", "application/merge-patch+json")];
        let admin = self.gateway.admin().within(3 * WITHIN);
        // Under callgrind and beside other tests the change can take longer than a write waits for it; written again, it is the same.
        found("the cache is in force", async || {
            let kept = admin.call(http::Method::PATCH, &project, &json, keep.clone()).await.unwrap();
            assert!(kept.status == 200 || kept.text().contains("not_in_force_yet"), "{}", kept.text());
            (kept.status == 200).then_some(())
        })
        .await;
        for _ in 0..WARM_UP {
            self.ask(body);
        }
        self.requests(body, allowed).await
    }

    /// What the serving thread did during this work.
    async fn count(&mut self, work: impl FnOnce(&mut Self)) -> Work {
        self.control("-z");
        work(self);
        self.control("-d");
        self.dumps += 1;
        let dump = self.dumps;
        let threads = found("a dump of each thread", async || read_dumps(self.counts.path(), dump)).await;
        // Not the busiest: on a slow machine what is done by the clock costs more than the requests.
        let serving = || threads.iter().max_by_key(|(_, work)| work.stages).map(|(thread, _)| *thread);
        let thread = self.thread.or_else(serving).unwrap();
        self.thread = Some(thread);
        threads[&thread]
    }
}

/// A wrapper that runs the built program under callgrind.
fn under_callgrind(folder: &Path) -> PathBuf {
    let path = folder.join("tidegate");
    let (built, out) = (tidegate().unwrap(), folder.join("counts"));
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = serve ] || exec {built} \"$@\"\nexec valgrind --quiet --tool=callgrind --instr-atstart=no --separate-threads=yes \
         --callgrind-out-file={out} {built} \"$@\"\n",
        built = built.display(),
        out = out.display()
    );
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Whether this is a whole answer with a length, or in chunks.
pub fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    match length {
        Some(length) => answer.len() >= end + 4 + length.parse::<usize>().unwrap(),
        None => answer.ends_with(b"\r\n0\r\n\r\n"),
    }
}

/// Each thread's counts by its number, from `counts.DUMP-THREAD`. `None` until all files are complete.
fn read_dumps(folder: &Path, dump: u64) -> Option<BTreeMap<u64, Work>> {
    let start = format!("counts.{dump}-");
    let mut threads = BTreeMap::new();
    for file in std::fs::read_dir(folder).unwrap().flatten() {
        let name = file.file_name().to_string_lossy().into_owned();
        let Some(thread) = name.strip_prefix(&start) else { continue };
        threads.insert(thread.parse().unwrap(), read_dump(&std::fs::read_to_string(file.path()).unwrap())?);
    }
    (!threads.is_empty()).then_some(threads)
}

/// Callgrind names a function once, `(7) malloc`, and refers to it by number from then on; `calls=` follows
/// the callee.
fn read_dump(text: &str) -> Option<Work> {
    let mut names = BTreeMap::new();
    let mut called = "";
    let mut stages = 0;
    let (mut instructions, mut allocations, mut turns, mut polls) = (None, 0, 0, 0);
    for line in text.lines() {
        if let Some(total) = line.strip_prefix("totals: ") {
            instructions = total.trim().parse().ok();
        } else if let Some((kind, name)) = line.split_once('=') {
            if matches!(kind, "fn" | "cfn") {
                let (number, name) = name.split_once(") ").unwrap_or((name.trim_end_matches(')'), ""));
                if !name.is_empty() {
                    names.insert(number, name);
                    stages += usize::from(STAGES.iter().any(|stage| name.starts_with(stage)));
                }
                called = names.get(number).copied().unwrap_or_default();
            } else if kind == "calls" {
                let calls: u64 = name.split(' ').next()?.parse().ok()?;
                match called {
                    "malloc" | "calloc" | "realloc" | "posix_memalign" | "aligned_alloc" => {
                        allocations += calls;
                    }
                    TURN => turns += calls,
                    POLL => polls += calls,
                    _ => {}
                }
            }
        }
    }
    Some(Work { count: Count { instructions: instructions?, allocations }, turns, polls, stages })
}

/// The differences between a shorter and a longer stream whose loops did alike apart from `more` chunks.
fn pairs([short, long]: &[Vec<Work>; 2], more: u64) -> Vec<Count> {
    let all = short.iter().flat_map(|short| long.iter().map(move |long| (short, long)));
    let alike =
        all.filter(|(short, long)| (short.turns + more, short.polls + more) == (long.turns, long.polls));
    let difference = |(short, long): (&Work, &Work)| Count {
        instructions: long.count.instructions.saturating_sub(short.count.instructions),
        allocations: long.count.allocations.saturating_sub(short.count.allocations),
    };
    alike.map(difference).collect()
}

fn median(counts: &[Count]) -> Count {
    let of = |part: fn(&Count) -> u64| {
        let mut each: Vec<u64> = counts.iter().map(part).collect();
        each.sort_unstable();
        each[each.len() / 2]
    };
    Count { instructions: of(|count| count.instructions), allocations: of(|count| count.allocations) }
}

/// The most instructions that are within the margin of a kept count.
fn allowed(kept: Count) -> u64 {
    kept.instructions * (100 + MARGIN) / 100
}

fn compare(name: &str, kept: Count, counted: Count, wrong: &mut Vec<String>) {
    for (what, kept, counted) in [
        ("instructions", kept.instructions, counted.instructions),
        ("allocations", kept.allocations, counted.allocations),
    ] {
        if counted.abs_diff(kept) * 100 > kept * MARGIN {
            wrong.push(format!("{name}: {counted} {what}, kept are {kept}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_costs_what_it_did() {
    let mut counted = Counted::start().await;
    let buffered = question(MINI);
    for _ in 0..WARM_UP {
        counted.ask(&buffered);
    }
    counted.control("-i on");
    counted.ask(&buffered);
    // What this counts tells which thread serves.
    counted.count(|counted| (0..WARM_UP).for_each(|_| counted.ask(&buffered))).await;
    let path = workspace().join(KEPT);
    let is_written = std::env::var_os("UPDATE_COUNTS").is_some();
    // What is compared with: nothing where the counts are of another build, or are to be written.
    let kept: Option<Counts> = (IS_OF_MAKE_TEST && !is_written)
        .then(|| serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap());
    let at_most = |of: fn(&Counts) -> Count| kept.as_ref().map_or(u64::MAX, |kept| allowed(of(kept)));
    let found = Counts {
        ten_requests: counted.requests(&buffered, at_most(|kept| kept.ten_requests)).await,
        stream_chunk: counted.chunk().await,
        ten_cache_hits: counted.hits(&buffered, at_most(|kept| kept.ten_cache_hits)).await,
    };
    let (hit, passed_on) = (found.ten_cache_hits.instructions, found.ten_requests.instructions);
    assert!(hit * 100 <= passed_on * HIT_PERCENT, "hits cost {hit} instructions, requests {passed_on}");
    if !IS_OF_MAKE_TEST {
        println!("The kept counts are of the build of `make test`, which this is not: {found:?}");
        return;
    }
    let Some(kept) = kept else {
        std::fs::write(&path, serde_json::to_string_pretty(&found).unwrap() + "\n").unwrap();
        return;
    };
    println!("kept {kept:?}\nfound {found:?}");
    let mut wrong = Vec::new();
    compare("buffered requests", kept.ten_requests, found.ten_requests, &mut wrong);
    compare("a chunk of a stream", kept.stream_chunk, found.stream_chunk, &mut wrong);
    compare("hits of the response cache", kept.ten_cache_hits, found.ten_cache_hits, &mut wrong);
    assert!(
        wrong.is_empty(),
        "{}\nThe way of a request has changed by more than {MARGIN} %. Take off what it does not need; where it is worth it, \
         or less than it was, keep the new counts with UPDATE_COUNTS=1 and say why in the commit.",
        wrong.join("\n")
    );
}

#[test]
fn a_dump_is_read_with_names_that_come_once() {
    let dump = "fn=(1) execute::serve\n10 5\ncfn=(2) malloc\ncalls=3 0\n10 40\nfn=(4) other\ncfn=(2)\ncalls=2 0\n11 9\ncfn=(5) free\ncalls=9 1\n1 1\n\
                cfn=(6) tokio::runtime::task::raw::poll\ncalls=7 1\n1 1\ntotals: 55\n";
    let count = Count { instructions: 55, allocations: 5 };
    assert_eq!(read_dump(dump), Some(Work { count, turns: 0, polls: 7, stages: 1 }));
    assert_eq!(read_dump("fn=(1) serve\n10 5\n"), None);
    assert!(is_whole(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") && !is_whole(b"HTTP/1.1 200 OK\r\n"));
}

#[test]
fn streams_are_compared_whose_loops_did_alike() {
    let work = |instructions, turns, polls| {
        let count = Count { instructions, allocations: 1 };
        Work { count, turns, polls, stages: 1 }
    };
    let short = vec![work(100, 7, 11), work(80, 6, 11)];
    let long = vec![work(340, 31, 35), work(390, 31, 39)];
    assert_eq!(pairs(&[short, long], 24), [Count { instructions: 240, allocations: 0 }]);
}
