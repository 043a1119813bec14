//! `tidegate completions`: a shell's completion script, made from the same definitions as the help.

use cli::output::Failure;

#[derive(Debug, clap::Args)]
pub struct Options {
    shell: clap_complete::Shell,
}

pub fn run(options: &Options) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut super::tree(), "tidegate", &mut script);
    print!("{}", String::from_utf8_lossy(&script));
    Ok(())
}
