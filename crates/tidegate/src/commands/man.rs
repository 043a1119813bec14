//! `tidegate man`: man pages, made from the same definitions as the help.

use std::path::PathBuf;

use anyhow::Context;
use cli::output::Failure;

#[derive(Debug, clap::Args)]
pub struct Options {
    /// The directory for the pages, such as /usr/local/share/man/man1; without one, the first page is printed.
    #[arg(value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

pub fn run(options: &Options) -> Result<(), Failure> {
    let tree = super::tree();
    let Some(directory) = &options.directory else {
        let mut page = Vec::new();
        clap_mangen::Man::new(tree).render(&mut page)?;
        print!("{}", String::from_utf8_lossy(&page));
        return Ok(());
    };
    std::fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(tree, directory))
        .with_context(|| format!("the pages can't be written to {}", directory.display()))?;
    println!("The manual is in {}: man {}", directory.display(), directory.join("tidegate.1").display());
    Ok(())
}
