//! What follows each failure of an upstream: for every profile, wire format and form of the answer, over
//! sockets. The results are the table in `docs/fault-matrix.md`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use harness::client::{Answer, Client};
use harness::{At, Behaviour, Config, Emulator};
use serde_json::{Value, json};

use crate::ask::{CHAT, MINI, question, streaming, with};
use crate::command::workspace;
use crate::gateway::{Founded, Gateway, OWN, OWN_SECOND, config, id_of};
use crate::wait::found;

/// How many cells run at once.
const AT_ONCE: usize = 8;
/// Attempts of one request, over both upstreams.
const ATTEMPTS_MAX: usize = 6;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Profile {
    Byok,
    Managed,
    Byoc,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Dialect {
    Chat,
    Responses,
    Messages,
    Gemini,
}

/// A failure that both upstreams of a cell have.
struct Failing {
    name: &'static str,
    /// Whether a buffered answer can fail so, too.
    is_buffered: bool,
    behaviour: fn() -> Behaviour,
    /// Timeouts of the cell's route.
    route: Option<fn() -> Value>,
}

#[derive(Debug, Clone, Copy)]
struct Cell {
    fault: usize,
    stream: bool,
    profile: Profile,
    dialect: Dialect,
}

/// What a client and the books say of one cell.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    status: u16,
    /// How the stream ended; empty for a buffered answer.
    ending: String,
    code: String,
    /// Calls to the upstream that was called more often, and to the other one.
    calls: (usize, usize),
    outcome: String,
    booked: &'static str,
}

const PROFILES: [Profile; 3] = [Profile::Byok, Profile::Managed, Profile::Byoc];
const DIALECTS: [Dialect; 4] = [Dialect::Chat, Dialect::Responses, Dialect::Messages, Dialect::Gemini];

const FAULTS: [Failing; 16] = [
    of("refuses the request: 400", true, || Behaviour::status(400).always()),
    of("refuses the key: 401", true, || Behaviour::status(401).always()),
    of("forbids: 403", true, || Behaviour::status(403).always()),
    of("has no such model: 404", true, || Behaviour::status(404).always()),
    of("is out of quota", true, || Behaviour::out_of_quota().always()),
    of("limits, for 1 ms: 429", true, || Behaviour::status(429).retry_after_ms(1).always()),
    of("limits, for 40 s: 429", true, || Behaviour::rate_limited(40).always()),
    of("fails: 500", true, || Behaviour::status(500).always()),
    of("is overloaded: 503", true, || Behaviour::status(503).always()),
    of("resets the connection", true, || Behaviour::reset().always()),
    Failing {
        route: Some(|| json!({"scope": {}, "first_byte_timeout_ms": 150})),
        ..of("is silent", true, || Behaviour::ok().latency(Duration::from_secs(60)).always())
    },
    of("breaks off before content", true, || Behaviour::ok().cut(0).always()),
    of("breaks off after content", false, || Behaviour::ok().chunks(20).cut(At::Middle).always()),
    of("ends after content, without an end", false, || Behaviour::ok().chunks(20).eof(At::Middle).always()),
    of("sends an error after content", false, || Behaviour::ok().chunks(20).error_event(At::Middle).always()),
    Failing {
        route: Some(|| json!({"scope": {}, "idle_timeout_ms": 1_000})),
        ..of("stalls after content", false, || Behaviour::ok().chunks(20).stall(At::Middle).always())
    },
];

const fn of(name: &'static str, is_buffered: bool, behaviour: fn() -> Behaviour) -> Failing {
    Failing { name, is_buffered, behaviour, route: None }
}

impl Profile {
    /// Where its upstreams are added, and one of them.
    fn upstream(self, secret: &str, base_url: &str) -> (&'static str, Value) {
        let (path, body) = match self {
            Self::Byok => ("/v2/provider-credentials", json!({"provider": "openai", "display_name": secret})),
            Self::Managed => ("/v2/accounts", json!({"provider": "openai"})),
            Self::Byoc => ("/v2/byoc/nodes", json!({"name": &secret[..7], "models": [MINI]})),
        };
        (path, with(json!({"secret": secret, "base_url": base_url}), body))
    }
}

impl Dialect {
    fn request(self, stream: bool) -> (String, Value) {
        let text = "hello there";
        let method = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
        let gemini = format!("/v1beta/models/{MINI}:{method}");
        let (path, body) = match self {
            Self::Chat if stream => (CHAT, streaming(MINI)),
            Self::Chat => (CHAT, question(MINI)),
            Self::Responses => {
                ("/v1/responses", json!({"model": MINI, "input": text, "store": false, "stream": stream}))
            }
            Self::Messages => {
                ("/v1/messages", with(question(MINI), json!({"max_tokens": 50, "stream": stream})))
            }
            Self::Gemini => (&*gemini, json!({"contents": [{"role": "user", "parts": [{"text": text}]}]})),
        };
        (path.to_owned(), body)
    }
}

fn cells(profile: Profile) -> Vec<Cell> {
    let mut cells = Vec::new();
    for (fault, failing) in FAULTS.iter().enumerate() {
        for stream in [false, true] {
            if stream || failing.is_buffered {
                cells.extend(DIALECTS.map(|dialect| Cell { fault, stream, profile, dialect }));
            }
        }
    }
    cells
}

/// Runs one cell with its own workspace and upstreams, so that no state of another cell counts. It has its own address, too:
/// accounts share the breaker of a host, and the port of an earlier cell may be reused.
async fn run(operator: Client, origin: String, number: usize, cell: Cell) -> (Seen, bool) {
    let failing = &FAULTS[cell.fault];
    let listen = format!("127.1.{}.{}:0", number / 200, 1 + number % 200);
    let emulator = Emulator::start(Config { workers: 1, listen, ..config() }).await.unwrap();
    let name =
        json!({"name": format!("{} {} {:?} {:?}", cell.fault, cell.stream, cell.profile, cell.dialect)});
    let founded: Founded = serde_json::from_value(made(&operator, "/v2/workspaces", &name).await).unwrap();
    let client = |key: &str| Client::new(&origin).bearer(key).within(crate::WITHIN);
    let (admin, application) = (client(&founded.admin_key), client(&founded.api_key));
    let owner = if cell.profile == Profile::Managed { &operator } else { &admin };
    let mut upstreams = Vec::new();
    for secret in [OWN, OWN_SECOND] {
        emulator.script(secret, [(failing.behaviour)()]);
        let (path, body) = cell.profile.upstream(secret, &emulator.base_url());
        upstreams.push(format!("{path}/{}", id_of(&made(owner, path, &body).await)));
    }
    if let Some(route) = failing.route {
        made(&admin, "/v2/routes", &route()).await;
    }
    let (status, trace, ending) = ask(&application, cell).await;
    let record = settled(&admin, &trace).await;
    for upstream in upstreams {
        assert_eq!(owner.delete(&upstream).await.unwrap().status, 204, "{upstream}");
    }
    let sent: Vec<_> = emulator.journal().into_iter().filter(|entry| entry.method == "POST").collect();
    let attempts = record["attempts"].as_array().unwrap();
    let of_key = |key: &str| sent.iter().filter(|entry| entry.key.as_deref() == Some(key)).count();
    let mut of_node: BTreeMap<&str, usize> = BTreeMap::new();
    for attempt in attempts {
        *of_node.entry(attempt["principal"].as_str().unwrap()).or_default() += 1;
    }
    let mut calls: Vec<usize> = match cell.profile {
        Profile::Byoc => of_node.into_values().chain([0, 0]).collect(),
        Profile::Byok | Profile::Managed => vec![of_key(OWN), of_key(OWN_SECOND)],
    };
    calls.sort_unstable_by(|one, other| other.cmp(one));
    // A node is also asked by the gateway itself what it can do.
    let more = if cell.profile == Profile::Byoc { sent.len() } else { attempts.len() };
    let is_told = (attempts.len()..=more).contains(&sent.len());
    let seen = Seen {
        status,
        ending,
        code: record["error_code"].as_str().unwrap_or("none").to_owned(),
        calls: (calls[0], calls[1]),
        outcome: record["outcome"].as_str().unwrap().to_owned(),
        booked: booked(&record),
    };
    (seen, is_told && emulator.violations().is_empty())
}

async fn made(client: &Client, path: &str, body: &Value) -> Value {
    client.post(path, body).await.unwrap().must_be(201).json()
}

fn booked(record: &Value) -> &'static str {
    let tokens = record["input_tokens"].as_u64().unwrap() + record["output_tokens"].as_u64().unwrap();
    match (tokens, record["estimated"] == true) {
        (0, _) => "nothing",
        (_, true) => "an estimate",
        (_, false) => "as counted",
    }
}

/// The status, the request's id, and how a stream ended.
async fn ask(client: &Client, cell: Cell) -> (u16, String, String) {
    let (path, body) = cell.dialect.request(cell.stream);
    let trace = |found: Option<&str>| found.expect("no request id").to_owned();
    if !cell.stream {
        let answer: Answer = client.post(&path, &body).await.unwrap();
        return (answer.status, trace(answer.header("agent-trace-id")), String::new());
    }
    let mut stream = client.stream(&path, &body).await.unwrap();
    let id = trace(stream.header("agent-trace-id"));
    if stream.status != 200 {
        return (stream.status, id, "no stream".to_owned());
    }
    let (events, end) = stream.events().await;
    let last = events.last().map_or("", String::as_str);
    let told = match serde_json::from_str::<Value>(last) {
        Ok(event) if event["type"] == "response.failed" => "`response.failed`",
        Ok(event) if event["type"] == "error" || event.get("error").is_some() => "an error event",
        _ => "without an error",
    };
    let closing = if end.is_ok() { "clean end" } else { "broken off" };
    (200, id, format!("{told}, {closing}"))
}

async fn settled(admin: &Client, trace: &str) -> Value {
    found("the request is in the books", async || {
        let answer = admin.get(&format!("/v2/requests/{trace}")).await.unwrap();
        (answer.status == 200).then(|| answer.json())
    })
    .await
}

/// Cells of own credentials and nodes run beside each other. Accounts serve all workspaces: one cell after another.
async fn run_all(gateway: &Gateway, profiles: &[Profile], at_once: usize) -> Vec<(Cell, Seen, bool)> {
    let cells = profiles.iter().flat_map(|profile| cells(*profile));
    let runs = cells.enumerate().map(|(number, cell)| async move {
        let (seen, holds) = run(gateway.admin(), gateway.origin.clone(), number, cell).await;
        (cell, seen, holds)
    });
    stream::iter(runs).buffer_unordered(at_once).collect().await
}

#[tokio::test]
async fn each_failure_has_one_outcome_in_every_profile_and_dialect() {
    // One core, so that the retry budget of an upstream has room for every retry of a cell.
    let one_core = [("TIDEGATE_WORKERS", "1")];
    let (own, pool) = tokio::join!(Gateway::with(config(), &one_core), Gateway::with(config(), &one_core));
    let (own, pool) = tokio::join!(
        run_all(&own, &[Profile::Byok, Profile::Byoc], AT_ONCE),
        run_all(&pool, &[Profile::Managed], 1)
    );
    let seen: Vec<_> = own.into_iter().chain(pool).collect();
    keep(&page(&seen));
    let wrong: Vec<_> = seen.iter().filter_map(|(cell, seen, holds)| wrong(cell, seen, *holds)).collect();
    assert!(wrong.is_empty(), "{} cells:\n{}", wrong.len(), wrong.join("\n"));
}

/// What holds in every cell, whatever the table says; a cell in which it doesn't is described.
fn wrong(cell: &Cell, seen: &Seen, holds: bool) -> Option<String> {
    let (more, fewer) = seen.calls;
    let is_late = !FAULTS[cell.fault].is_buffered;
    let is_right = if seen.status == 200 {
        // Content was sent: nothing is repeated, and the end can't be taken for the answer's.
        is_late
            && (seen.calls, seen.booked) == ((1, 0), "an estimate")
            && !seen.ending.starts_with("without an error")
    } else {
        seen.status >= 400 && !is_late && seen.booked == "nothing"
    };
    let is_told = holds && seen.outcome == "failed" && seen.code != "none";
    let is_bounded = (1..=3).contains(&more) && more + fewer <= ATTEMPTS_MAX;
    (!is_right || !is_told || !is_bounded)
        .then(|| format!("{}: {cell:?} {seen:?}, booked as called: {holds}", FAULTS[cell.fault].name))
}

const HEAD: &str = "\
# What follows each failure of an upstream

Written by `UPDATE_DOCS=1 cargo nextest run --workspace -E 'test(each_failure_has_one_outcome)'`, and compared by it otherwise. Every row was run over sockets
in four dialects: two upstreams of one profile both fail as the first column says, and the client's request meets them. The upstream speaks the wire format of
OpenAI. *Attempts* are the calls to the one upstream and, behind the plus sign, to the other: a plus sign says that the other was tried. *Booked* is what the
record says was used. The error code is the one in the record, and in the answer where the dialect has a field for it; [errors.md](errors.md) explains it.
Profiles that do the same share a row.
";

/// One table for each form of the answer.
fn page(seen: &[(Cell, Seen, bool)]) -> String {
    let mut page = HEAD.to_owned();
    for (stream, title) in [(false, "Buffered"), (true, "Streamed")] {
        let end = if stream { " the stream |" } else { "" };
        write!(page, "\n## {title}\n\n| the upstream | profile | chat, responses, messages, gemini | error code | attempts | booked |{end}\n").unwrap();
        let rule = if stream { "---|" } else { "" };
        writeln!(page, "|---|---|---|---|---|---|{rule}").unwrap();
        for (fault, failing) in FAULTS.iter().enumerate() {
            for (row, profiles) in rows(seen, fault, stream) {
                writeln!(page, "| {} | {} | {row}", failing.name, profiles.join(", ")).unwrap();
            }
        }
    }
    page
}

/// The rows of one failure, each with the profiles that it is of.
fn rows(seen: &[(Cell, Seen, bool)], fault: usize, stream: bool) -> Vec<(String, Vec<String>)> {
    let mut rows: Vec<(String, Vec<String>)> = Vec::new();
    for profile in PROFILES {
        let name = format!("{profile:?}").to_lowercase();
        let of_dialect: BTreeMap<Dialect, &Seen> = seen
            .iter()
            .filter(|(cell, ..)| (cell.fault, cell.stream, cell.profile) == (fault, stream, profile))
            .map(|(cell, seen, _)| (cell.dialect, seen))
            .collect();
        if of_dialect.is_empty() {
            continue;
        }
        assert_eq!(of_dialect.len(), DIALECTS.len());
        let row = row(&of_dialect.into_values().collect::<Vec<_>>(), stream);
        match rows.iter_mut().find(|(known, _)| *known == row) {
            Some((_, profiles)) => profiles.push(name),
            None => rows.push((row, vec![name])),
        }
    }
    rows
}

fn row(seen: &[&Seen], stream: bool) -> String {
    let attempts = |one: &Seen| match one.calls {
        (calls, 0) => calls.to_string(),
        (calls, others) => format!("{calls} + {others}"),
    };
    let mut columns = vec![
        shared(seen, |one| one.status.to_string()),
        shared(seen, |one| format!("`{}`", one.code)),
        shared(seen, attempts),
        shared(seen, |one| one.booked.to_owned()),
    ];
    if stream {
        columns.push(shared(seen, |one| one.ending.clone()));
    }
    format!("{} |", columns.join(" | "))
}

/// The text that all dialects have in common, or each one's in order.
fn shared(seen: &[&Seen], text: impl Fn(&Seen) -> String) -> String {
    let mut texts: Vec<String> = seen.iter().map(|one| text(one)).collect();
    if texts.iter().all(|text| *text == texts[0]) {
        texts.truncate(1);
    }
    texts.join(" / ")
}

/// Compares the generated page with the checked-in one, or writes it.
fn keep(made: &str) {
    let file = workspace().join("docs/fault-matrix.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, made).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    // All of them: one cell that came out otherwise makes two rows of one.
    let new: Vec<&str> = made.lines().filter(|row| !kept.lines().any(|known| known == *row)).collect();
    assert!(kept == made, "docs/fault-matrix.md is old, run with UPDATE_DOCS=1: {new:#?}");
}
