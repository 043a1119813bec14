//! `bench count`: the instructions that a request costs the whole process, its serving threads, its books and its control plane alike, counted
//! by callgrind on the build that is measured, and a history of them in which each figure only falls, or says why it doesn't.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::facts::Facts;
use crate::load::{Load, Shape, Summary};
use crate::parties::{Party, Ready, Serving};
use crate::rounds::{Folder, drive, start_emulator};

pub const USAGE: &str = "usage: bench count [flags]        (through `make count`, flags in ARGS=\"...\")

  --binary PATH     the gateway whose instructions are counted (target/make-run/tidegate)
  --secs S          seconds of load for a figure, three times (8)
  --reason TEXT     why figures may be higher than they were: written into the history
  --save FILE       the history (bench/instructions.tsv)
  --no-save         print only";

/// What is counted: a figure's name, who serves it, and by which load.
const FIGURES: [(&str, Party, Shape); 5] = [
    ("request", Party::Us, Shape::Closed),
    ("chunk", Party::Us, Shape::Streams),
    ("translated request of 4 KiB", Party::Us4kTranslated, Shape::Closed),
    ("cached answer", Party::UsCached, Shape::Closed),
    ("request with everything on", Party::UsEverything, Shape::Closed),
];
/// What the process does by the clock alone. Beside a load it is taken off, since a load takes fifty times as long where instructions are counted.
const IDLE: &str = "idle second";
const IDLE_SECONDS: Duration = Duration::from_secs(6);
const WARM_SECONDS: f64 = 3.0;
const CHUNKS: u64 = 200;
/// Of so many counts the least is taken: what falls into one by chance only adds.
const REPEATS: usize = 3;
/// Of a figure, in percent: counts of one build differ by less.
const MARGIN: u64 = 2;
const DUMP_MAX: Duration = Duration::from_secs(60);
const HEAD: &str = "date\tcommit\tfigure\tinstructions\treason\n";

struct Options {
    binary: PathBuf,
    seconds: f64,
    reason: String,
    save: Option<PathBuf>,
}

/// A gateway under callgrind.
struct Counted<'a> {
    ready: &'a Ready,
    serving: Serving,
    counts: PathBuf,
    dumps: u64,
    idle_per_second: f64,
}

/// Whether each figure is at most what it was.
pub fn run(flags: &[&str]) -> Result<bool> {
    let options = options(flags).with_context(|| USAGE.to_owned())?;
    let facts = Facts::gather(&options.binary);
    println!("{facts}");
    let found = count_all(&options)?;
    let history = match &options.save {
        Some(path) => fs::read_to_string(path).unwrap_or_else(|_| HEAD.to_owned()),
        None => HEAD.to_owned(),
    };
    let risen = risen(&history, &found);
    let outcome = if risen.is_empty() {
        "met: no figure is higher than it was".to_owned()
    } else {
        format!("MISSED: higher than they were: {}", risen.join("; "))
    };
    println!("\n{outcome}");
    found.iter().for_each(|(name, count)| println!("{count:>10}  {name}"));
    let may_rise = !options.reason.is_empty();
    if let Some(path) = options.save.filter(|_| risen.is_empty() || may_rise) {
        if facts.commit.ends_with("-dirty") {
            bail!("not saved: the sources have changed since {}", facts.commit);
        }
        let reason = if risen.is_empty() { "" } else { options.reason.as_str() };
        let rows = found
            .iter()
            .map(|(name, count)| format!("{}\t{}\t{name}\t{count}\t{reason}\n", facts.date, facts.commit));
        fs::write(&path, history + &rows.collect::<String>()).with_context(|| path.display().to_string())?;
        println!("saved {}", path.display());
    }
    Ok(risen.is_empty() || may_rise)
}

fn options(flags: &[&str]) -> Result<Options> {
    let mut options = Options {
        binary: PathBuf::from("target/make-run/tidegate"),
        seconds: 8.0,
        reason: String::new(),
        save: Some(PathBuf::from("bench/instructions.tsv")),
    };
    let mut words = flags.iter();
    while let Some(flag) = words.next() {
        let mut value = || words.next().with_context(|| format!("{flag} needs a value"));
        match *flag {
            "--binary" => options.binary = PathBuf::from(value()?),
            "--secs" => options.seconds = value()?.parse().context("--secs")?,
            "--reason" => options.reason = value()?.replace(['\t', '\n'], " "),
            "--save" => options.save = Some(PathBuf::from(value()?)),
            "--no-save" => options.save = None,
            _ => bail!("{flag} is not known"),
        }
    }
    options.binary = fs::canonicalize(&options.binary)
        .with_context(|| format!("{} is not built", options.binary.display()))?;
    Ok(options)
}

fn count_all(options: &Options) -> Result<Vec<(String, u64)>> {
    let folder = Folder::new("count");
    let (_emulator, address) = start_emulator().context("starting the emulator")?;
    let mut found = Vec::new();
    for party in [Party::Us, Party::Us4kTranslated, Party::UsCached, Party::UsEverything] {
        let own = folder.0.join(party.name());
        let ready = Ready::set_up(party, own.clone(), &options.binary, &address)
            .with_context(|| format!("setting up {}", party.name()))?;
        let ready = ready.started_by(under_callgrind(&own, &options.binary)?);
        let mut counted = Counted::start(&ready, own.join("counts"))?;
        if party == Party::Us {
            found.push((IDLE.to_owned(), rounded(counted.idle_per_second)));
        }
        for (name, _, shape) in FIGURES.into_iter().filter(|(_, of, _)| *of == party) {
            let each = counted.least(shape, options.seconds).with_context(|| name.to_owned())?;
            println!("  {name}: {each:.0}");
            found.push((name.to_owned(), rounded(each)));
        }
    }
    Ok(found)
}

/// A program that runs this one under callgrind where it serves.
fn under_callgrind(folder: &Path, binary: &Path) -> Result<PathBuf> {
    let (path, built) = (folder.join("counted"), binary.display());
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = serve ] || exec '{built}' \"$@\"\nexec valgrind --quiet --tool=callgrind --instr-atstart=no \
         --callgrind-out-file='{}' '{built}' \"$@\"\n",
        folder.join("counts").display()
    );
    fs::write(&path, script).context("writing the wrapper")?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).context("making the wrapper a program")?;
    Ok(path)
}

impl<'a> Counted<'a> {
    fn start(ready: &'a Ready, counts: PathBuf) -> Result<Self> {
        let serving = ready.start().context("starting it under callgrind (package valgrind)")?;
        let mut counted = Self { ready, serving, counts, dumps: 0, idle_per_second: 0.0 };
        counted.drive(Shape::Closed, WARM_SECONDS)?;
        counted.control(&["-i", "on"])?;
        counted.drive(Shape::Closed, WARM_SECONDS)?;
        let mut least = u64::MAX;
        for _ in 0..REPEATS {
            let ((), idle) = counted.count(|_| {
                std::thread::sleep(IDLE_SECONDS);
                Ok(())
            })?;
            least = least.min(idle);
        }
        counted.idle_per_second = least as f64 / IDLE_SECONDS.as_secs_f64();
        Ok(counted)
    }

    /// One connection, so that each request has turns of the event loop of its own, however fast the machine is.
    fn drive(&self, shape: Shape, seconds: f64) -> Result<Summary> {
        let chunk_count = if shape == Shape::Streams { CHUNKS } else { 0 };
        let summary = drive(&Load {
            shape,
            address: self.serving.address.clone(),
            token: self.ready.token().to_owned(),
            headers: self.ready.headers().to_owned(),
            model: self.ready.party.model().to_owned(),
            grammar: self.ready.party.grammar(),
            prompt_bytes: self.ready.party.prompt_bytes(),
            latency_ms: 0,
            chunk_count,
            interval_ms: 0,
            connection_count: 1,
            requests_per_second: 0.0,
            seconds,
        })?;
        if summary.error_count > 0 || summary.ok_count == 0 {
            bail!("{} good answers, {} bad: {}", summary.ok_count, summary.error_count, summary.error_sample);
        }
        Ok(summary)
    }

    /// What each request, or chunk, costs beside what is done by the clock.
    fn least(&mut self, shape: Shape, seconds: f64) -> Result<f64> {
        let mut least = f64::INFINITY;
        for _ in 0..REPEATS {
            let start = Instant::now();
            let (summary, instructions) = self.count(|counted| counted.drive(shape, seconds))?;
            let idle = self.idle_per_second * start.elapsed().as_secs_f64();
            let pieces = if shape == Shape::Streams { summary.chunk_count } else { summary.ok_count };
            least = least.min((instructions as f64 - idle) / pieces as f64);
        }
        Ok(least)
    }

    fn count<T>(&mut self, work: impl FnOnce(&Self) -> Result<T>) -> Result<(T, u64)> {
        self.control(&["-z"])?;
        let done = work(self)?;
        self.control(&["-d"])?;
        self.dumps += 1;
        let path = self.counts.with_extension(self.dumps.to_string());
        let start = Instant::now();
        loop {
            if let Some(total) = fs::read_to_string(&path).ok().and_then(|dump| total(&dump)) {
                return Ok((done, total));
            }
            if start.elapsed() > DUMP_MAX {
                bail!("callgrind wrote no counts into {}", path.display());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn control(&self, arguments: &[&str]) -> Result<()> {
        let pid = self.serving.process.pid().to_string();
        let output = Command::new("callgrind_control").args(arguments).arg(pid).output();
        let output = output.context("starting callgrind_control (package valgrind)")?;
        if !output.status.success() {
            bail!("callgrind_control: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }
}

/// The sum of a dump, once it is whole.
fn total(dump: &str) -> Option<u64> {
    dump.lines().find_map(|line| line.strip_prefix("totals: "))?.trim().parse().ok()
}

#[expect(clippy::cast_possible_truncation, reason = "counts of instructions are far below")]
fn rounded(count: f64) -> u64 {
    count.round().max(0.0) as u64
}

/// The figures that are higher than they were. Compared is with the least since a figure last had a reason to rise: many small steps are not
/// allowed what one large step isn't.
fn risen(history: &str, found: &[(String, u64)]) -> Vec<String> {
    let mut least: BTreeMap<&str, u64> = BTreeMap::new();
    for row in history.lines() {
        let cells: Vec<&str> = row.split('\t').collect();
        let [_, _, name, count, reason] = cells[..] else { continue };
        let Ok(count) = count.parse::<u64>() else { continue };
        let before = least.get(name).copied().filter(|_| reason.is_empty());
        least.insert(name, before.map_or(count, |before| before.min(count)));
    }
    let is_higher = |(name, count): &&(String, u64)| {
        least.get(name.as_str()).is_some_and(|least| count * 100 > least * (100 + MARGIN))
    };
    let words = |(name, count): &(String, u64)| {
        format!("{name}: {count} after {}", least.get(name.as_str()).copied().unwrap_or_default())
    };
    found.iter().filter(is_higher).map(words).collect()
}

#[cfg(test)]
mod tests {
    use super::{HEAD, risen, total};

    #[test]
    fn figures_only_fall_or_have_a_reason() {
        let row = |count: u64, reason: &str| format!("2026-11-30\tabc\trequest\t{count}\t{reason}\n");
        let found = |count: u64| [("request".to_owned(), count), ("new".to_owned(), 5)];
        assert_eq!(risen(HEAD, &found(9)), Vec::<String>::new());
        // Each step is within the margin of the one before; the third is not within that of the first.
        let steps = [HEAD.to_owned(), row(1000, ""), row(1015, "")].concat();
        assert!(risen(&steps, &found(1020)).is_empty());
        assert_eq!(risen(&steps, &found(1021)), ["request: 1021 after 1000"]);
        let told = steps + &row(1200, "a check more");
        assert!(risen(&told, &found(1224)).is_empty());
        assert_eq!(risen(&told, &found(1225)), ["request: 1225 after 1200"]);
    }

    #[test]
    fn a_dump_has_its_sum_at_its_end() {
        assert_eq!(total("fn=(1) a\n10 5\n\ntotals: 55\n"), Some(55));
        assert_eq!(total("fn=(1) a\n10 5\n"), None);
    }
}
