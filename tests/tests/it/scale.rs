//! Many stored requests: how long each query of a console page takes, and how much space the records take.

#[expect(clippy::cast_possible_truncation, reason = "its numbers are small")]
mod filling;

use std::time::{Duration, Instant};

use harness::pace::cpu_time;
use harness::postgres::Server;
use harness::setting::number;
use store::{Address, ReplicaId, Store};
use tempfile::TempDir;

use crate::WITHIN;
use crate::gateway::{Gateway, config, id_of};
use crate::wait::a_moment;
use filling::{DAYS, Filled, TAG};

/// `TIDEGATE_SCALE_RECORDS` sets more: `make prove-scale` takes a million.
const RECORDS: u64 = 4_000;
/// How often each query runs, in the test and in the proof.
const ASKED: [usize; 2] = [3, 20];
/// How long a page's data may take: in the test, of the gateway's CPU time in its build, where 300 ms were found; in the proof, which has the machine
/// to itself and an optimised build, at p95 of the clock.
const WITHIN_MS: [u128; 2] = [1_000, 300];

fn records() -> (u64, bool) {
    let wanted = number("TIDEGATE_SCALE_RECORDS");
    (wanted.unwrap_or(RECORDS), wanted.is_some())
}

/// Filters for the request list; `day` is one of the days, `middle` is a moment.
fn filters(filled: &Filled, day: &str, middle: &str) -> Vec<(&'static str, String)> {
    vec![
        ("a model", "&model=openai/gpt-4o".to_owned()),
        ("a model as it was asked for", "&model=fast".to_owned()),
        ("a model that nobody asked for", "&model=openai/none".to_owned()),
        ("a provider", "&provider=together_ai".to_owned()),
        ("a profile", "&profile=byoc".to_owned()),
        ("a key", format!("&key_id={}", filled.keys[3])),
        ("another key", format!("&key_id={}", filled.keys[11])),
        ("a project", format!("&project_id={}", filled.project)),
        ("an environment", "&environment=staging".to_owned()),
        ("a rare status", "&status=502".to_owned()),
        ("a status that never was", "&status=418".to_owned()),
        ("an outcome", "&outcome=client_cancelled".to_owned()),
        ("a rare tag", format!("&tag={TAG}")),
        ("a day", day.to_owned()),
        ("a rare status on a day", format!("&status=502{day}")),
        ("several", "&model=openai/gpt-4o&outcome=failed&environment=staging".to_owned()),
        ("the middle", format!("&until={middle}")),
        ("a rare status from the middle", format!("&status=502&until={middle}")),
        ("errors", "&filter=status:error".to_owned()),
        ("a rare status of a model", "&filter=status:502%20model:gpt-4o*".to_owned()),
        ("a key's rare status", format!("&filter=status:502%20key:{}", filled.keys[2])),
        ("slow ones", "&filter=latency:%3E20s".to_owned()),
        ("the dearest", "&filter=cost:%3E0.0024".to_owned()),
        ("what never was so slow", "&filter=latency:%3E10m".to_owned()),
        ("failed ones that were never so slow", "&filter=outcome:failed%20latency:%3E10m".to_owned()),
    ]
}

/// The queries that each console page makes, by name.
async fn queries(gateway: &Gateway, filled: &Filled) -> Vec<(String, String)> {
    let mut queries = Vec::new();
    let since = gateway.get("/v2/usage?window=9d").await["start"].as_str().unwrap().to_owned();
    let until = gateway.get("/v2/usage?window=8d").await["start"].as_str().unwrap().to_owned();
    let day = format!("&since={since}&until={until}");
    let middle = gateway.get("/v2/usage?window=15d").await["start"].as_str().unwrap().to_owned();
    let mut ask = |name: &str, path: String| queries.push((name.to_owned(), path));
    let list = |filter: &str| format!("/v2/requests?limit=50{filter}");
    ask("requests", list(""));
    for (name, filter) in filters(filled, &day, &middle) {
        ask(&format!("requests, {name}"), list(&filter));
    }
    ask("requests, the live tail", "/v2/requests?limit=1&since=".to_owned() + &until);
    ask("requests, a thousand of a rare tag", format!("/v2/requests?limit=1000&tag={TAG}"));
    ask("requests, a thousand", "/v2/requests?limit=1000".to_owned());
    ask("requests, a thousand as CSV", "/v2/requests?limit=1000&format=csv".to_owned());
    ask("a request, new", format!("/v2/requests/{}", filled.newest));
    ask("a request, old", format!("/v2/requests/{}", filled.oldest));
    // Tasks are counted from the records, of which there are too many here.
    let groups = store::Dimension::ALL.into_iter().filter(|one| *one != store::Dimension::Task);
    let groups: Vec<_> = groups.map(store::Dimension::as_str).collect();
    for window in ["24h", "7d", "30d", "month"] {
        for what in ["usage", "analytics"] {
            ask(&format!("{what}, {window}"), format!("/v2/{what}?window={window}"));
        }
        for group in &groups {
            let path = format!("/v2/usage?window={window}&group_by={group}");
            ask(&format!("usage, {window} by {group}"), path);
        }
        let interval = if window == "24h" || window == "7d" { "hour" } else { "day" };
        for group in ["", "model", "key", "outcome,status"] {
            let path = format!("/v2/analytics?window={window}&group_by={group}&interval={interval}");
            ask(&format!("analytics, {window} by {group} and {interval}"), path);
        }
    }
    let by_minute = "/v2/usage?window=6h&group_by=model&interval=minute";
    ask("usage, 6 hours by minute and model", by_minute.to_owned());
    ask("usage, 30d of byok by provider", "/v2/usage?window=30d&group_by=provider&profile=byok".to_owned());
    ask("records whole, a thousand", "/v2/records?limit=1000".to_owned());
    for path in PLAIN.split(' ') {
        ask(path, path.to_owned());
    }
    queries
}

const PLAIN: &str = "/v2/billing/snapshot /v2/billing/account /v2/billing/invoices /v2/budgets /v2/webhooks \
     /v2/audit?limit=100 /v2/api-keys?limit=1000 /v2/projects?limit=1000 /v2/provider-credentials?limit=200 \
     /v2/provider-credentials/kinds /v2/byoc/nodes?limit=200 /v2/accounts /v2/routes?limit=500 \
     /v2/members?limit=200 /v2/workspaces /v2/me";

/// The median, and what is held to the limit.
async fn timed(gateway: &Gateway, path: &str) -> (Duration, Duration) {
    let (admin, pid) = (gateway.admin(), gateway.pid());
    let (is_proof, mut took) = (records().1, Vec::new());
    // The proof does not count the first answer.
    for round in usize::from(!is_proof)..=ASKED[usize::from(is_proof)] {
        let (started, before) = (Instant::now(), cpu_time(pid));
        let answer = admin.get(path).await.unwrap();
        if round > 0 {
            took.push(if is_proof { started.elapsed() } else { cpu_time(pid) - before });
        }
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
    took.sort();
    (took[took.len() / 2], took[if is_proof { took.len() * 95 / 100 } else { 0 }])
}

/// Runs every query, prints how long each took, and returns those that were too slow.
async fn all_timed(gateway: &Gateway, database: &str, filled: &Filled) -> Vec<String> {
    let is_proof = records().1;
    let what = if is_proof { "p95" } else { "least CPU" };
    let mut slow = Vec::new();
    let mut slowest = Duration::ZERO;
    for (name, path) in queries(gateway, filled).await {
        let (half, most) = timed(gateway, &path).await;
        println!("{database:>10}  p50 {:>7.1} ms  {what} {:>7.1} ms  {name}", ms(half), ms(most));
        if most.as_millis() >= WITHIN_MS[usize::from(is_proof)] {
            slow.push(format!("{database}: {name}: {what} {:.1} ms", ms(most)));
        }
        slowest = slowest.max(most);
    }
    println!("{database:>10}  the slowest {what} is {:.1} ms\n", ms(slowest));
    slow
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// Checks the figures in the answers, whichever tables they are read from.
async fn agrees(gateway: &Gateway, filled: &Filled) {
    let get = async |path: &str| gateway.get(path).await;
    for group in ["", "model", "key", "outcome", "day", "model,day"] {
        let usage = get(&format!("/v2/usage?window=40d&group_by={group}")).await;
        let requests = usage["data"].as_array().unwrap().iter().map(|row| row["requests"].as_u64().unwrap());
        assert_eq!(requests.sum::<u64>(), filled.records, "{group}");
    }
    let (broken, tagged) = ("&status=502".to_owned(), format!("&tag={TAG}"));
    let all = [(broken, &filled.broken), ("&model=fast".to_owned(), &filled.fast), (tagged, &filled.tagged)];
    for (filter, expected) in all {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let list = get(&format!("/v2/requests?limit=300{filter}{cursor}")).await;
            found.extend(list["data"].as_array().unwrap().iter().map(id_of));
            match list["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        let newest_first: Vec<_> = expected.iter().rev().map(ToString::to_string).collect();
        assert!(found == newest_first, "{filter}: {} of {}", found.len(), expected.len());
    }
}

/// Waits for the maintenance pass over the books that follows a start.
async fn await_maintenance(gateway: &mut Gateway) {
    let started = Instant::now();
    let is_done = |text: String| text.contains("sums by the minute");
    while !is_done(gateway.process().stderr()) && !is_done(gateway.process().stdout()) {
        assert!(started.elapsed() < 20 * WITHIN, "the days are not summed");
        a_moment().await;
    }
    println!("the days were summed, and old minutes forgotten, in {:?}", started.elapsed());
}

async fn journey(gateway: &mut Gateway, store: Store, database: &str) -> (Filled, Vec<String>) {
    let (records, _) = records();
    let founded = &gateway.founded;
    let ids = (founded.workspace_id.parse().unwrap(), founded.project_id.parse().unwrap());
    let filled = filling::fill(&store, ids, records).await;
    println!("{database:>10}  {records} requests over {DAYS} days put in {:?}", filled.took);
    store.close().await;
    gateway.stop().await;
    gateway.start_again().await;
    await_maintenance(gateway).await;
    let slow = all_timed(gateway, database, &filled).await;
    (filled, slow)
}

#[tokio::test]
async fn everything_a_page_asks_is_told_at_once_on_sqlite() {
    let mut gateway = Gateway::with(config(), &[]).await;
    let file = gateway.data().join("tidegate.db");
    let empty = file.metadata().unwrap().len();
    let store = Store::open(&file).await.unwrap();
    let (filled, slow) = journey(&mut gateway, store, "SQLite").await;
    gateway.stop().await;
    // Without pages that are free for reuse.
    let dense = gateway.data().join("dense.db");
    store::copy_database(&file, &dense).await.unwrap();
    let bytes = dense.metadata().unwrap().len() - empty;
    println!("    SQLite  {:.0} bytes a record, with its sums", bytes as f64 / filled.records as f64);
    gateway.start_again().await;
    agrees(&gateway, &filled).await;
    assert!(slow.is_empty(), "{slow:#?}");
}

#[tokio::test]
async fn everything_a_page_asks_is_told_at_once_on_postgres() {
    let directory = TempDir::new().unwrap();
    let server = Server::own(directory.path()).await.unwrap();
    let url = server.database("scale").await.unwrap();
    let key_file = directory.path().join("master.key").display().to_string();
    let environment = [("TIDEGATE_DATABASE_URL", url.as_str()), ("TIDEGATE_MASTER_KEY_FILE", &key_file)];
    let mut gateway = Gateway::with(config(), &environment).await;
    let address: Address = url.parse().unwrap();
    let store = Store::connect(&address, ReplicaId::from_bytes([7; 16])).await.unwrap();
    let (filled, slow) = journey(&mut gateway, store, "PostgreSQL").await;
    // Without space that is free for reuse.
    server.run("scale", "VACUUM FULL usage_minutes").await.unwrap();
    let sizes = "SELECT COALESCE(inhparent::regclass::text, relname), SUM(pg_relation_size(pg_class.oid)), \
         SUM(pg_indexes_size(pg_class.oid)) FROM pg_class LEFT JOIN pg_inherits ON inhrelid = pg_class.oid \
         WHERE relkind = 'r' AND relname ~ 'record|usage' GROUP BY 1 ORDER BY 2 DESC";
    for line in server.run("scale", sizes).await.unwrap().lines() {
        let parts: Vec<_> = line.split('|').collect();
        let [bytes, indexes] = [1, 2].map(|at| parts[at].parse::<f64>().unwrap() / filled.records as f64);
        println!("PostgreSQL  {}: {bytes:.0} bytes a record and {indexes:.0} of indexes", parts[0]);
    }
    agrees(&gateway, &filled).await;
    assert!(slow.is_empty(), "{slow:#?}");
}
