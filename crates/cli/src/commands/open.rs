//! `tidegate open`: a page of the console in a browser, or its address.

use std::io::IsTerminal;
use std::process::{Command, Stdio};

use crate::output::{self, Failure};
use crate::shared::Shared;

#[derive(Debug, clap::Args)]
pub struct Options {
    /// A page such as usage, keys or credentials, a request's id, or nothing for the first page.
    page: Option<String>,
    /// Prints the address without opening a browser.
    #[arg(long)]
    print: bool,
}

pub fn run(shared: &Shared, options: &Options) -> Result<(), Failure> {
    let (base, _) = shared.gateway()?;
    let address = format!("{base}{}", path(options.page.as_deref().unwrap_or(""))?);
    // A script has no use for a browser.
    let opens = !options.print && !shared.json && std::io::stdout().is_terminal();
    let is_opened = opens && browse(&address);
    if shared.json {
        println!("{}", serde_json::json!({"url": address}));
    } else {
        println!("{address}");
    }
    if opens && !is_opened {
        eprintln!("No browser could be started here: open the address yourself.");
    }
    Ok(())
}

/// Whether a browser was started with this address.
pub fn browse(address: &str) -> bool {
    ["xdg-open", "open"].into_iter().any(|program| start(program, address))
}

fn start(program: &str, address: &str) -> bool {
    let mut command = Command::new(program);
    command.arg(address).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().is_ok()
}

fn path(page: &str) -> Result<String, Failure> {
    let page = page.trim_matches('/');
    if page.is_empty() {
        return Ok("/".to_owned());
    }
    let kinds =
        [("trc_", "/requests/"), ("pcr_", "/credentials/"), ("node_", "/nodes/"), ("rte_", "/routes/")];
    if let Some((_, collection)) = kinds.into_iter().find(|(prefix, _)| page.starts_with(prefix)) {
        return Ok(format!("{collection}{page}"));
    }
    let path = format!("/{page}");
    let pages: Vec<_> = console::PAGES.iter().filter(|page| !page.contains('{')).collect();
    if pages.iter().any(|known| **known == path) {
        return Ok(path);
    }
    let names: Vec<_> = pages.iter().map(|page| page.trim_start_matches('/')).collect();
    let message = format!("The console has no page {}.", output::printable(page));
    Err(Failure::new(output::USAGE, message).fix(format!("Name one of {}.", names.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_or_an_id_leads_somewhere() {
        assert_eq!(path("").unwrap(), "/");
        assert_eq!(path("/usage").unwrap(), "/usage");
        assert_eq!(path("trc_1").unwrap(), "/requests/trc_1");
        assert!(path("nothing").unwrap_err().fix_text().is_some_and(|fix| fix.contains("requests")));
        assert!(path("../x").is_err());
    }
}
