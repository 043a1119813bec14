//! Runs the provider emulator as a separate program, for tests in other languages and for load tests.

use std::io::{self, Write};
use std::process::ExitCode;

use harness::{Config, Emulator, Flavour, Model};
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str =
    "usage: emulator [--listen ADDR] [--flavour V] [--keys k1,k2] [--tls-dir DIR] [--models m1,m2]
                [--accept-fields f1,f2] [--h2-streams N] [--workers N] [--entries N]
  --listen ADDR         loopback address, port 0 for a free one (default 127.0.0.1:0)
  --flavour V           whose host this is: openai (default), xai, fireworks, azure, mistral, together,
                        lenient, strict, old, bare, vllm, ollama
  --keys k1,k2          accepted keys, in any provider's header (default: one known test key)
  --tls-dir DIR         serve TLS and write the authority to DIR/ca.pem
  --models m1,m2        served models, instead of the default list
  --accept-fields f,g   vendor request fields accepted beside OpenAI's own
  --h2-streams N        concurrent streams per HTTP/2 connection (default 100)
  --workers N           serving threads (default 2)
  --entries N           journal entries kept (default 50000)";

fn main() -> ExitCode {
    let config = match config(std::env::args().skip(1)) {
        Ok(config) => config,
        Err(message) => {
            eprintln!("emulator: {message}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("emulator: {error}");
            ExitCode::FAILURE
        }
    }
}

fn config(mut arguments: impl Iterator<Item = String>) -> Result<Config, String> {
    let mut config = Config::default();
    while let Some(flag) = arguments.next() {
        if flag == "--help" {
            return Err("help".to_owned());
        }
        let value = arguments.next().ok_or_else(|| format!("{flag} needs a value"))?;
        let list = || value.split(',').filter(|one| !one.is_empty());
        config = match flag.as_str() {
            "--listen" => config.listen(value),
            "--flavour" => {
                config.flavour(Flavour::named(&value).ok_or_else(|| format!("no flavour {value}"))?)
            }
            "--keys" => config.keys(list()),
            "--tls-dir" => config.tls_dir(value),
            "--models" => Config { models: list().map(Model::named).collect(), ..config },
            "--accept-fields" => list().fold(config.clone(), Config::accept_field),
            "--h2-streams" => config.h2_streams_max(number(&flag, &value)?),
            "--workers" => Config { workers: number(&flag, &value)?, ..config },
            "--entries" => Config { entries_max: number(&flag, &value)?, ..config },
            _ => return Err(format!("unknown flag {flag}")),
        };
    }
    Ok(config)
}

fn number<T: std::str::FromStr>(flag: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{flag} needs a number, not {value}"))
}

fn run(config: Config) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let emulator = Emulator::start(config).await?;
        let mut stdout = io::stdout();
        writeln!(stdout, "listening on {}", emulator.addr())?;
        stdout.flush()?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        Ok(())
    })
}
