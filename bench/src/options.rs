//! The benchmark's command line.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::parties::Party;

pub const USAGE: &str = "usage: bench [flags]        (through `make bench`, flags in ARGS=\"...\")

  --rounds N        interleaved rounds (5)
  --secs S          seconds a phase takes (5)
  --only A,B        parties: us, nginx, thin-hyper, and us with one thing more: us-100k-keys, us-2-workers, us-postgres, us-everything, us-cached, us-session, us-content, or by another build: us-plain (all); nothing is saved, unless --save says so
  --streams N       streams held open for the memory figure (1000)
  --seed N          chooses the order of the parties in each round (1)
  --binary PATH     the gateway to measure (target/tidegate, as `make release` builds it)
  --plain PATH      the gateway that us-plain is (target/release/tidegate, a release without the profile)
  --training        the load that a release's profile is made of, which is another one than what is measured; nothing saved
  --save FOLDER     where bench.json and bench.svg go (docs/proofs)
  --no-save         print only
  --quick           one round of a second each, a hundred streams, nothing saved: whether it works, not how fast";

#[derive(Debug, Clone, Serialize)]
pub struct Options {
    pub rounds: usize,
    pub seconds: f64,
    pub only: Vec<Party>,
    pub streams: usize,
    pub seed: u64,
    #[serde(skip)]
    pub binary: PathBuf,
    #[serde(skip)]
    pub plain: PathBuf,
    #[serde(skip)]
    pub training: bool,
    /// Whether a missed limit is a failure: not where the run is too short to tell.
    #[serde(skip)]
    pub is_judged: bool,
    #[serde(skip)]
    pub save: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rounds: 5,
            seconds: 5.0,
            only: Party::ALL.to_vec(),
            streams: 1000,
            seed: 1,
            binary: PathBuf::from("target/tidegate"),
            plain: PathBuf::from("target/release/tidegate"),
            training: false,
            is_judged: true,
            save: Some(PathBuf::from("docs/proofs")),
        }
    }
}

impl Options {
    /// The binary that a party runs.
    pub fn binary_of(&self, party: Party) -> &Path {
        if party == Party::UsPlain { &self.plain } else { &self.binary }
    }

    pub fn parse(flags: &[&str]) -> Result<Self> {
        let mut options = Self::default();
        let mut words = flags.iter();
        while let Some(flag) = words.next() {
            if *flag == "--no-save" {
                options.save = None;
                continue;
            }
            if *flag == "--quick" {
                (options.rounds, options.seconds, options.streams, options.save) = (1, 1.0, 100, None);
                options.is_judged = false;
                continue;
            }
            if *flag == "--training" {
                (options.training, options.rounds, options.save) = (true, 1, None);
                options.only = vec![Party::Us, Party::Us4kTranslated];
                options.is_judged = false;
                continue;
            }
            let value = words.next().with_context(|| format!("{flag} needs a value"))?;
            options.set(flag, value).with_context(|| format!("reading {flag} {value}"))?;
        }
        // The table keeps what a whole run found.
        if flags.contains(&"--only") && !flags.contains(&"--save") {
            options.save = None;
        }
        if options.rounds == 0 || options.seconds < 0.5 || options.streams == 0 {
            bail!("at least one round, half a second and one stream");
        }
        Ok(options)
    }

    fn set(&mut self, flag: &str, value: &str) -> Result<()> {
        match flag {
            "--rounds" => self.rounds = value.parse()?,
            "--secs" => self.seconds = value.parse()?,
            "--streams" => self.streams = value.parse()?,
            "--seed" => self.seed = value.parse()?,
            "--binary" => self.binary = PathBuf::from(value),
            "--plain" => self.plain = PathBuf::from(value),
            "--save" => self.save = Some(PathBuf::from(value)),
            "--only" => self.only = value.split(',').map(Party::parse).collect::<Result<_>>()?,
            _ => bail!("no such flag"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Options;
    use crate::parties::Party;

    #[test]
    fn flags_are_read() {
        let options = Options::parse(&["--rounds", "2", "--only", "nginx,thin-hyper", "--no-save"]).unwrap();
        assert_eq!((options.rounds, options.only), (2, vec![Party::Nginx, Party::ThinHyper]));
        assert!(options.save.is_none());
        let some = Options::parse(&["--only", "us"]).unwrap();
        assert!(some.save.is_none() && some.is_judged);
        assert!(Options::parse(&["--only", "us", "--save", "x"]).unwrap().save.is_some());
        let quick = Options::parse(&["--quick", "--secs", "2"]).unwrap();
        assert_eq!((quick.rounds, quick.seconds, quick.save, quick.is_judged), (1, 2.0, None, false));
    }

    #[test]
    fn wrong_flags_are_refused() {
        for flags in [
            &["--rounds"][..],
            &["--rounds", "x"],
            &["--what", "1"],
            &["--only", "apache"],
            &["--rounds", "0"],
        ] {
            assert!(Options::parse(flags).is_err(), "{flags:?}");
        }
    }
}
