//! The rounds: all parties are running, one at a time is under load, in an alternating order.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::behaviour::Behaviour;
use crate::load::{Load, Shape, Summary};
use crate::metrics::{Metric, Sample, rounded};
use crate::options::Options;
use crate::parties::{Party, Ready, Serving};
use crate::processes::{Channels, LOAD_CORE, Running, accepts, free_address};
use crate::procfs;

/// Ticks of `/proc/stat` per second, the same on every Linux that this runs on.
const TICKS_PER_SECOND: f64 = 100.0;
/// The prefix of the serving threads' names.
const SERVING_THREADS: &str = "serve-";
const WARM_SECONDS: f64 = 1.5;
const SETTLE: Duration = Duration::from_millis(800);
/// With more noise than this, a figure says as much about other processes as about the party.
pub const FOREIGN_CORES_MAX: f64 = 0.2;

/// One kind of load, and the figures that it yields.
struct Phase {
    name: &'static str,
    shape: Shape,
    behaviour: Behaviour,
    connection_count: usize,
}

const PHASES: [Phase; 4] = [
    Phase {
        name: "saturated",
        shape: Shape::Closed,
        behaviour: Behaviour { latency_ms: 0, chunk_count: 0, interval_ms: 0 },
        connection_count: 64,
    },
    Phase {
        name: "burst",
        shape: Shape::Streams,
        behaviour: Behaviour { latency_ms: 0, chunk_count: 200, interval_ms: 0 },
        connection_count: 64,
    },
    Phase {
        name: "200/s",
        shape: Shape::Open,
        behaviour: Behaviour { latency_ms: 50, chunk_count: 0, interval_ms: 0 },
        connection_count: 64,
    },
    Phase {
        name: "paced",
        shape: Shape::Streams,
        behaviour: Behaviour { latency_ms: 50, chunk_count: 10, interval_ms: 20 },
        connection_count: 16,
    },
];

/// The load for recording a PGO profile: longer questions, fewer connections and other streams than in the
/// benchmark, so that no figure is of the trained load.
const TRAINING: [Phase; 2] = [
    Phase {
        name: "training",
        shape: Shape::Closed,
        behaviour: Behaviour { latency_ms: 2, chunk_count: 0, interval_ms: 0 },
        connection_count: 24,
    },
    Phase {
        name: "streams",
        shape: Shape::Streams,
        behaviour: Behaviour { latency_ms: 2, chunk_count: 45, interval_ms: 1 },
        connection_count: 24,
    },
];
const TRAINING_PROMPT_BYTES: usize = 1_500;

/// A directory for this run, removed at its end.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(what: &str) -> Self {
        Self(std::env::temp_dir().join(format!("tidegate-{what}-{}", std::process::id())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("bench: {} is left behind: {error}", self.0.display());
        }
    }
}

struct Bench<'a> {
    options: &'a Options,
    emulator: Running,
    samples: Vec<Sample>,
}

pub fn run(options: &Options) -> Result<Vec<Sample>> {
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        bail!("two cores are needed: one for the proxy, one for emulator and client");
    }
    let folder = Folder::new("bench");
    let (emulator, address) = start_emulator().context("starting the emulator")?;
    let mut bench = Bench { options, emulator, samples: Vec::new() };
    let (mut long, mut fresh) = (Vec::new(), Vec::new());
    for party in present(options)? {
        let name = party.name();
        let set_up = |kind: &str| {
            Ready::set_up(party, folder.0.join(format!("{name}-{kind}")), options.binary_of(party), &address)
                .with_context(|| format!("setting up {name}"))
        };
        if !party.is_variant() {
            fresh.push(set_up("fresh")?);
        }
        let ready = set_up("long")?;
        let serving = ready.start().with_context(|| format!("starting {name}"))?;
        bench.warm(&ready, &serving).with_context(|| format!("warming {name} up"))?;
        long.push((ready, serving));
    }
    for round in 0..options.rounds {
        println!("\nround {} of {}", round + 1, options.rounds);
        bench.round(round, &mut long, &fresh)?;
    }
    Ok(bench.samples)
}

/// The parties that can run; for the others, prints what is missing.
fn present(options: &Options) -> Result<Vec<Party>> {
    let mut present = Vec::new();
    for party in &options.only {
        match party.missing(options.binary_of(*party)) {
            Some(why) => println!("without {}: {why}", party.name()),
            None => present.push(*party),
        }
    }
    if present.is_empty() {
        bail!("nobody is there to be measured");
    }
    Ok(present)
}

pub fn start_emulator() -> Result<(Running, String)> {
    let address = free_address()?;
    let mut command = Command::new(std::env::current_exe().context("finding this program")?);
    command.args(["emulate", &address]);
    let channels = Channels { stdin: Stdio::null(), stdout: Stdio::inherit(), stderr: Stdio::inherit() };
    let start = Instant::now();
    let mut emulator = Running::start(LOAD_CORE, &command, channels)?;
    emulator.wait_until(start, || accepts(&address))?;
    Ok((emulator, address))
}

/// The order of a round: rotated by the seed and the round, and reversed in every other round.
fn order(count: usize, seed: u64, round: usize) -> Vec<usize> {
    let turn = usize::try_from(seed % 1000).unwrap_or(0) + round / 2;
    let mut order: Vec<usize> = (0..count).map(|at| (at + turn) % count.max(1)).collect();
    if round % 2 == 1 {
        order.reverse();
    }
    order
}

impl Bench<'_> {
    fn warm(&self, ready: &Ready, serving: &Serving) -> Result<()> {
        let mut load = self.load(ready, serving, &PHASES[0]);
        (load.connection_count, load.seconds) = (16, WARM_SECONDS);
        let summary = drive(&load)?;
        if summary.ok_count == 0 || summary.error_count > 0 {
            bail!("{} good answers, {} bad: {}", summary.ok_count, summary.error_count, summary.error_sample);
        }
        Ok(())
    }

    fn round(&mut self, round: usize, long: &mut [(Ready, Serving)], fresh: &[Ready]) -> Result<()> {
        let indices = order(long.len(), self.options.seed, round);
        for phase in if self.options.training { &TRAINING[..] } else { &PHASES[..] } {
            for at in &indices {
                let Some((ready, serving)) = long.get_mut(*at) else { continue };
                if ready.party.is_variant() && phase.shape != Shape::Closed {
                    continue;
                }
                let name = ready.party.name();
                serving.process.check_alive().with_context(|| format!("{name} is gone"))?;
                self.phase(round, phase, ready, serving)
                    .with_context(|| format!("{name}, {}", phase.name))?;
            }
        }
        for at in &order(fresh.len(), self.options.seed, round) {
            let Some(ready) = fresh.get(*at) else { continue };
            self.memory(round, ready).with_context(|| format!("{}, memory", ready.party.name()))?;
        }
        Ok(())
    }

    fn load(&self, ready: &Ready, serving: &Serving, phase: &Phase) -> Load {
        Load {
            shape: phase.shape,
            address: serving.address.clone(),
            token: ready.token().to_owned(),
            headers: ready.headers().to_owned(),
            model: ready.party.model().to_owned(),
            grammar: ready.party.grammar(),
            prompt_bytes: match ready.party.prompt_bytes() {
                0 if self.options.training => TRAINING_PROMPT_BYTES,
                bytes => bytes,
            },
            latency_ms: phase.behaviour.latency_ms,
            chunk_count: phase.behaviour.chunk_count,
            interval_ms: phase.behaviour.interval_ms,
            connection_count: phase.connection_count,
            requests_per_second: 200.0,
            seconds: self.options.seconds,
        }
    }

    fn phase(&mut self, round: usize, phase: &Phase, ready: &Ready, serving: &Serving) -> Result<()> {
        let load = self.load(ready, serving, phase);
        let before = Usage::now(serving.process.pid(), self.emulator.pid());
        let summary = drive(&load)?;
        let after = Usage::now(serving.process.pid(), self.emulator.pid());
        if summary.error_count > 0 || summary.ok_count == 0 {
            bail!("{} good answers, {} bad: {}", summary.ok_count, summary.error_count, summary.error_sample);
        }
        let foreign = after.foreign_cores_since(&before, summary.client_cpu_ns);
        let cpu_us = (after.proxy_ns.saturating_sub(before.proxy_ns)) as f64 / 1e3;
        let mut found = figures(phase, &summary, cpu_us);
        if phase.shape == Shape::Closed && ready.party.is_us() {
            let serving_us = (after.serving_ns.saturating_sub(before.serving_ns)) as f64 / 1e3;
            found.push((Metric::ServingUsPerRequest, serving_us / summary.ok_count as f64));
        }
        let displayed: Vec<String> =
            found.iter().map(|(metric, value)| format!("{metric:?} {value:.1}")).collect();
        let noise = if foreign > FOREIGN_CORES_MAX { "  NOISY" } else { "" };
        println!(
            "  {:10} {:10} {}  (foreign {foreign:.2}){noise}",
            phase.name,
            ready.party.name(),
            displayed.join(", ")
        );
        self.record(round, ready.party, &found, foreign);
        Ok(())
    }

    fn record(&mut self, round: usize, party: Party, found: &[(Metric, f64)], foreign_cores: f64) {
        let samples = found.iter();
        self.samples.extend(samples.map(|(metric, value)| Sample {
            party,
            round,
            metric: *metric,
            value: rounded(*value),
            foreign_cores: rounded(foreign_cores),
        }));
    }

    /// Measured in a fresh process, so that the heap of earlier loads does not count.
    fn memory(&mut self, round: usize, ready: &Ready) -> Result<()> {
        let serving = ready.start()?;
        std::thread::sleep(SETTLE);
        let idle_kib = procfs::memory_kib(serving.process.pid());
        // What the first stream loads once, such as a tokenizer's table, is not counted per stream; it is a
        // figure of its own.
        self.held(ready, &serving, 1)?;
        std::thread::sleep(SETTLE);
        let served_kib = procfs::memory_kib(serving.process.pid());
        let open_kib = self.held(ready, &serving, self.options.streams)?;
        let stream_kib = open_kib.saturating_sub(served_kib) as f64 / self.options.streams as f64;
        let ready_ms = serving.ready_after.as_secs_f64() * 1e3;
        let [idle_mib, served_mib] = [idle_kib, served_kib].map(|kib| kib as f64 / 1024.0);
        println!(
            "  {:10} {:10} idle {idle_mib:.1} MiB, {served_mib:.1} MiB after a stream, {stream_kib:.1} KiB a stream, \
             ready in {ready_ms:.0} ms",
            "memory",
            ready.party.name()
        );
        let found = [
            (Metric::IdleMib, idle_mib),
            (Metric::ServedMib, served_mib),
            (Metric::StreamKib, stream_kib),
            (Metric::ReadyMs, ready_ms),
        ];
        self.record(round, ready.party, &found, 0.0);
        Ok(())
    }

    /// Opens streams, measures memory, and ends them.
    fn held(&self, ready: &Ready, serving: &Serving, streams: usize) -> Result<u64> {
        let mut load = self.load(ready, serving, &PHASES[1]);
        load.shape = Shape::Held;
        (load.connection_count, load.chunk_count, load.interval_ms) = (streams, 600, 1000);
        let mut client = start_load(&load)?;
        let stdout = client.child().stdout.take().context("reading from the client")?;
        let mut lines = BufReader::new(stdout).lines();
        let first = lines.next().transpose().context("reading from the client")?;
        if first.as_deref() != Some("open") {
            bail!("the streams did not open");
        }
        std::thread::sleep(SETTLE);
        let open_kib = procfs::memory_kib(serving.process.pid());
        let mut stdin = client.child().stdin.take().context("writing to the client")?;
        stdin.write_all(b"end\n").context("telling the client to end")?;
        let last = lines.next().transpose().context("reading from the client")?.context("no summary came")?;
        let summary: Summary = serde_json::from_str(&last).context("understanding the client")?;
        if summary.ok_count != streams as u64 || summary.error_count > 0 {
            bail!("{} of {} streams opened: {}", summary.ok_count, streams, summary.error_sample);
        }
        Ok(open_kib)
    }
}

fn figures(phase: &Phase, summary: &Summary, cpu_us: f64) -> Vec<(Metric, f64)> {
    let added = |p50: Metric, p99: Metric| {
        [(p50, summary.added_p50_us), (p99, summary.added_p99_us)]
            .into_iter()
            .filter_map(|(metric, value)| value.map(|value| (metric, value)))
            .collect()
    };
    let paced = phase.behaviour.interval_ms > 0;
    match phase.shape {
        Shape::Closed => vec![
            (Metric::CpuUsPerRequest, cpu_us / summary.ok_count as f64),
            (Metric::RequestsPerSecond, summary.ok_count as f64 / summary.seconds),
        ],
        Shape::Streams if !paced => vec![
            (Metric::CpuUsPerChunk, cpu_us / summary.chunk_count as f64),
            (Metric::ChunksPerSecond, summary.chunk_count as f64 / summary.seconds),
        ],
        Shape::Streams => added(Metric::FirstByteP50Us, Metric::FirstByteP99Us),
        Shape::Open => added(Metric::AddedP50Us, Metric::AddedP99Us),
        Shape::Held => Vec::new(),
    }
}

fn start_load(load: &Load) -> Result<Running> {
    let mut command = Command::new(std::env::current_exe().context("finding this program")?);
    command.args(["load", &serde_json::to_string(load).context("writing the load")?]);
    let channels = Channels { stdin: Stdio::piped(), stdout: Stdio::piped(), stderr: Stdio::inherit() };
    Running::start(LOAD_CORE, &command, channels).context("starting the client")
}

pub fn drive(load: &Load) -> Result<Summary> {
    let mut client = start_load(load)?;
    let stdout = client.child().stdout.take().context("reading from the client")?;
    let line = BufReader::new(stdout).lines().next().transpose().context("reading from the client")?;
    serde_json::from_str(&line.context("the client said nothing")?).context("understanding the client")
}

/// CPU time used so far, by the party and by everything.
struct Usage {
    at: Instant,
    proxy_ns: u64,
    /// The part used by the gateway's serving threads.
    serving_ns: u64,
    emulator_ns: u64,
    busy_ticks: u64,
}

impl Usage {
    fn now(proxy: u32, emulator: u32) -> Self {
        Self {
            at: Instant::now(),
            proxy_ns: procfs::cpu_ns(proxy),
            serving_ns: procfs::cpu_ns_of(proxy, SERVING_THREADS),
            emulator_ns: procfs::cpu_ns(emulator),
            busy_ticks: procfs::busy_ticks(),
        }
    }

    fn foreign_cores_since(&self, before: &Self, client_ns: u64) -> f64 {
        let seconds = (self.at - before.at).as_secs_f64();
        let busy = self.busy_ticks.saturating_sub(before.busy_ticks) as f64 / TICKS_PER_SECOND;
        let proxy_ns = self.proxy_ns.saturating_sub(before.proxy_ns);
        let emulator_ns = self.emulator_ns.saturating_sub(before.emulator_ns);
        let ours = (proxy_ns + emulator_ns + client_ns) as f64 / 1e9;
        ((busy - ours) / seconds).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::order;

    #[test]
    fn orders_alternate_and_hold_everyone() {
        assert_eq!(order(3, 0, 0), [0, 1, 2]);
        assert_eq!(order(3, 0, 1), [2, 1, 0]);
        assert_eq!(order(3, 0, 2), [1, 2, 0]);
        assert_eq!(order(3, 1, 0), [1, 2, 0]);
        assert_eq!(order(0, 1, 0), Vec::<usize>::new());
    }
}
