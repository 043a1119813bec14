//! `bench/gpu.sh`: measures the engine on a device, relative to what the device itself can do. Weights are
//! random, generated on the device.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use candle_core::{DType, Device, Tensor};
use engine::{DeviceModel, Numbers, Processor};
use kernels::{Architecture, KvDtype};
use weights::synthetic::SyntheticAdapter;

use crate::models;
use crate::ours::{Child, Holds};
use crate::report::machine;
use crate::rows::{Row, Wanted, median};

const USAGE: &str = "bench-engine device [--device cuda|cuda:N|metal|cpu-tensors] [--shape 8b|0.6b|tiny] [--rounds 5] [--save FILE]";

/// The command line.
struct Options {
    processor: Processor,
    load: Load,
    rounds: usize,
    save: Option<PathBuf>,
}

/// The workload.
#[derive(Debug, Clone)]
struct Load {
    name: &'static str,
    shape: Architecture,
    /// Prompt tokens of each sequence, before decoding.
    prompt: usize,
    count: usize,
    texts: usize,
    /// The length of the prompt for prefill.
    long: usize,
    rank: usize,
}

/// Adapters that the sequences alternate between.
const ADAPTERS: usize = 8;
/// The bytes copied to measure memory bandwidth, and the side of the matrices multiplied to measure compute.
const LARGE: (usize, usize) = (1 << 30, 8192);
const SMALL: (usize, usize) = (1 << 26, 512);

/// What the device can do.
struct Gives {
    /// Memory bandwidth: bytes read or written per second.
    memory: f64,
    /// Additions and multiplications per second, in the data type of the computation.
    products: f64,
}

fn eight() -> Architecture {
    Architecture { hidden: 4096, layers: 36, heads: 32, inner: 12_288, is_tied: false, ..models::shape() }
}

fn tiny() -> Architecture {
    let (vocabulary, hidden, layers, context) = (512, 64, 2, 2_048);
    Architecture {
        vocabulary,
        hidden,
        layers,
        heads: 4,
        kv_heads: 2,
        head_dim: 32,
        inner: 128,
        context,
        ..models::shape()
    }
}

fn load(name: &str) -> Result<Load> {
    let large = |name, shape| Load { name, shape, prompt: 256, count: 64, texts: 64, long: 8192, rank: 16 };
    Ok(match name {
        "8b" => large("8b", eight()),
        "0.6b" => large("0.6b", models::shape()),
        "tiny" => Load { name: "tiny", shape: tiny(), prompt: 24, count: 8, texts: 8, long: 256, rank: 4 },
        other => bail!("{other} is no shape\n{USAGE}"),
    })
}

fn options(flags: &[&str]) -> Result<Options> {
    let mut options = Options { processor: Processor::Cuda(0), load: load("8b")?, rounds: 5, save: None };
    let mut flags = flags.iter();
    while let Some(flag) = flags.next() {
        let mut value = || flags.next().with_context(|| format!("{flag} wants a value\n{USAGE}"));
        match *flag {
            "--device" => options.processor = value()?.parse()?,
            "--shape" => options.load = load(value()?)?,
            "--rounds" => options.rounds = value()?.parse().context("--rounds")?,
            "--save" => options.save = Some(PathBuf::from(value()?)),
            other => bail!("{other} is not known\n{USAGE}"),
        }
    }
    if options.rounds == 0 || options.processor == Processor::Own {
        bail!("{USAGE}");
    }
    Ok(options)
}

pub fn run(flags: &[&str]) -> Result<()> {
    let options = options(flags)?;
    let rows = measure(&options)?;
    let table = table(&options, &rows);
    print!("{table}");
    if let Some(path) = &options.save {
        std::fs::write(path, table).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn best(times: usize, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..times {
        let start = Instant::now();
        work()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(best)
}

fn gives(device: &Device, kind: DType) -> Result<Gives> {
    let (bytes, side) = if device.is_cpu() { SMALL } else { LARGE };
    let numbers = Tensor::zeros(bytes / kind.size_in_bytes(), kind, device)?;
    let copied = best(8, || {
        let copied = numbers.copy()?;
        device.synchronize()?;
        drop(copied);
        Ok(())
    })?;
    let matrix = Tensor::randn(0.0f32, 1.0, (side, side), device)?.to_dtype(kind)?;
    let multiplied = best(8, || {
        let product = matrix.matmul(&matrix)?;
        device.synchronize()?;
        drop(product);
        Ok(())
    })?;
    // A copy reads and writes each byte.
    Ok(Gives { memory: 2.0 * bytes as f64 / copied, products: 2.0 * (side as f64).powi(3) / multiplied })
}

impl Load {
    /// Multiplications and additions of a prefill; the output head is computed for the last token only.
    fn operations(&self) -> f64 {
        let shape = &self.shape;
        let attention = shape.hidden * (2 * shape.query_width() + 2 * shape.kv_width());
        let weights = shape.layers * (attention + 3 * shape.hidden * shape.inner);
        let tokens = self.long as f64;
        // Each token attends to those before it: half of all pairs, once for scores and once for values.
        let seen = 2.0 * (shape.layers * shape.query_width()) as f64 * tokens * tokens;
        2.0 * weights as f64 * tokens + seen
    }

    fn holds(&self, processor: Processor) -> Holds {
        let each = self.prompt + self.count + crate::ours::PROMPT_STEPS_MAX + kernels::BLOCK;
        let context = (each * self.texts).max(self.long + kernels::BLOCK);
        Holds { context, step_tokens: processor.step_tokens(), texts: self.texts, keeps: KvDtype::F16 }
    }
}

/// Tokens per second over all sequences.
fn rate(child: &mut Child, load: &Load, texts: usize, rounds: usize) -> Result<f64> {
    let mut rates = Vec::new();
    for round in 0..=rounds {
        let seconds = child.decode(texts, load.prompt, load.count)?;
        // The first round is a warm-up.
        if round > 0 {
            rates.push((texts * load.count) as f64 / seconds);
        }
    }
    Ok(median(rates))
}

fn measure(options: &Options) -> Result<Vec<Row>> {
    let Options { processor, load, rounds, .. } = options;
    eprintln!("drawing the model");
    let model = Arc::new(DeviceModel::drawn(load.shape.clone(), Numbers::BF16, *processor)?);
    eprintln!("what the device gives");
    let gives = gives(model.device(), model.work())?;
    let mut child = Child::of(Arc::clone(&model), &load.holds(*processor))?;
    eprintln!("G15, G16");
    let one = rate(&mut child, load, 1, *rounds)?;
    let many = rate(&mut child, load, load.texts, *rounds)?;
    eprintln!("G17");
    let mut seconds = Vec::new();
    for round in 0..=*rounds {
        let took = child.prefill(load.long)?;
        if round > 0 {
            seconds.push(took);
        }
    }
    let seconds = median(seconds);
    eprintln!("G18");
    let directory = std::env::temp_dir().join(format!("bench-engine-{}", std::process::id()));
    let adapted =
        adapters(&mut child, load, &directory).and_then(|()| rate(&mut child, load, load.texts, *rounds));
    let _ = std::fs::remove_dir_all(&directory);
    let figures = Figures { one, many, seconds, adapted: adapted?, read: model.read_bytes() as f64 };
    Ok(rows(load, &gives, &figures))
}

/// Registers adapters; from now on, sequences alternate between them.
fn adapters(child: &mut Child, load: &Load, directory: &Path) -> Result<()> {
    const TARGETS: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
    for (seed, name) in (0..ADAPTERS as u64).map(|seed| (seed, format!("adapter-{seed}"))) {
        let path = directory.join(&name);
        SyntheticAdapter::new(&load.shape, &TARGETS, load.rank, seed).write(&path, Numbers::BF16)?;
        child.wear(&name, &path)?;
    }
    Ok(())
}

/// The measurements: tokens per second, seconds, and the weight bytes that one token reads.
struct Figures {
    one: f64,
    many: f64,
    seconds: f64,
    adapted: f64,
    read: f64,
}

fn rows(load: &Load, gives: &Gives, figures: &Figures) -> Vec<Row> {
    let Figures { one, many, seconds, adapted, read } = *figures;
    let row = |name, what, gate, target, is, behind| Row {
        name,
        what,
        wanted: Wanted::AtLeast,
        gate,
        target,
        is,
        behind,
    };
    let done = load.operations() / seconds;
    vec![
        row(
            "G15",
            "weights read for decode of one text, by what a copy in the device's memory gives",
            0.6,
            0.75,
            read * one / gives.memory,
            format!(
                "{one:.1} tokens a second; {:.1} of {:.1} GB a second",
                read * one / 1e9,
                gives.memory / 1e9
            ),
        ),
        row(
            "G16",
            "decode of many texts, by decode of one",
            20.0,
            30.0,
            many / one,
            format!("{many:.1} tokens a second of {} texts, one alone {one:.1}", load.texts),
        ),
        row(
            "G17",
            "operations of reading a long prompt, by those of one large product",
            0.4,
            0.6,
            done / gives.products,
            format!(
                "{:.1} tokens a second of a prompt of {}; {:.2} of {:.2} TFLOP/s",
                load.long as f64 / seconds,
                load.long,
                done / 1e12,
                gives.products / 1e12
            ),
        ),
        row(
            "G18",
            "decode of many texts with eight adapters, by that without",
            0.85,
            0.95,
            adapted / many,
            format!("{adapted:.1} tokens a second with adapters of rank {}, {many:.1} without", load.rank),
        ),
    ]
}

/// The device's name.
fn device_name(processor: Processor) -> String {
    let output_of = |program: &str, arguments: &[&str]| {
        let output =
            Command::new(program).args(arguments).output().ok().filter(|output| output.status.success());
        output.map_or(String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let name = match processor {
        Processor::Cuda(number) => {
            let number = number.to_string();
            let query =
                ["--query-gpu=name,memory.total,driver_version", "--format=csv,noheader", "-i", &number];
            output_of("nvidia-smi", &query)
        }
        Processor::Metal => output_of("sysctl", &["-n", "machdep.cpu.brand_string"]),
        Processor::Own | Processor::Tensors => "this machine's processor, by tensors".to_owned(),
    };
    if name.is_empty() { processor.to_string() } else { format!("{processor}: {name}") }
}

fn table(options: &Options, rows: &[Row]) -> String {
    let flash = if cfg!(feature = "flash-attn") { "with flash attention" } else { "without flash attention" };
    let mut table = format!(
        "# The engine on a device\n\n`bench/gpu.sh`: a model of the shape {} ({} layers, hidden {}), its weights drawn at random in \
         bf16 (a processor computes in f32), built {flash}; median of {} rounds after one that does not count. What the device gives is \
         the best of eight: a copy in its memory, and one product of two large matrices.\n\n{}\n\n{}\n\n",
        options.load.name,
        options.load.shape.layers,
        options.load.shape.hidden,
        options.rounds,
        device_name(options.processor),
        machine(),
    );
    table.push_str(
        "| | measured | gate | target | is | gate met | target met |\n|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let Row { name, what, gate, target, is, .. } = row;
        let [held, reached] = [gate, target].map(|bound| if is >= bound { "yes" } else { "**no**" });
        // Writing to a string can't fail.
        let _ =
            writeln!(table, "| {name} | {what} | >= {gate} | >= {target} | {is:.3} | {held} | {reached} |");
    }
    table.push_str("\nThe figures behind them:\n\n");
    for row in rows {
        let _ = writeln!(table, "- {}: {}", row.name, row.behind);
    }
    table
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_row_is_measured_on_a_processor() {
        let options = options(&["--device", "cpu-tensors", "--shape", "tiny", "--rounds", "1"]).unwrap();
        let rows = measure(&options).unwrap();
        assert_eq!(rows.iter().map(|row| row.name).collect::<Vec<_>>(), ["G15", "G16", "G17", "G18"]);
        assert!(rows.iter().all(|row| row.is.is_finite() && row.is > 0.0));
        let table = table(&options, &rows);
        assert!(table.contains("| G18 |") && table.contains("cpu-tensors"), "{table}");
    }

    #[test]
    fn a_long_prompt_costs_what_it_costs() {
        let load = load("tiny").unwrap();
        // Two layers with 64 × (128 + 64 + 64 + 128) and three times 64 × 128 weights, twice each; plus the
        // attention of 256 tokens.
        let weights = 2 * (64 * 384 + 3 * 64 * 128);
        assert!(
            (load.operations() - (2.0 * f64::from(weights) * 256.0 + 2.0 * 256.0 * 65_536.0)).abs() < 1.0
        );
    }
}
