//! The gateways that a node opens tunnels to: the one that it joined, or all that this one names.

use std::sync::Arc;

use http::Uri;
use tokio::sync::watch;

use crate::limits::TUNNEL_GATEWAYS_MAX;

/// Their base URLs.
pub struct Gateways {
    control: String,
    urls: watch::Sender<Vec<String>>,
}

impl Gateways {
    pub fn of(control: &str) -> Arc<Self> {
        let urls = watch::channel(vec![control.to_owned()]).0;
        Arc::new(Self { control: control.to_owned(), urls })
    }

    /// Takes the list of the control plane. The credential goes to no address that is less protected than that of the control plane.
    pub(crate) fn heard(&self, urls: Vec<String>) {
        let may_be = |url: &String| match url.parse::<Uri>().ok().as_ref().and_then(Uri::scheme_str) {
            Some("https") => true,
            Some("http") => self.control.starts_with("http://"),
            _ => false,
        };
        let mut wanted: Vec<String> = urls.into_iter().filter(may_be).take(TUNNEL_GATEWAYS_MAX).collect();
        wanted.sort();
        wanted.dedup();
        if wanted.is_empty() {
            wanted.push(self.control.clone());
        }
        self.urls.send_if_modified(|known| {
            let is_new = *known != wanted;
            *known = wanted;
            is_new
        });
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Vec<String>> {
        self.urls.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(control: &str, urls: &[&str]) -> Vec<String> {
        let gateways = Gateways::of(control);
        gateways.heard(urls.iter().map(|url| (*url).to_owned()).collect());
        gateways.watch().borrow().clone()
    }

    #[test]
    fn the_credential_goes_to_no_address_that_is_less_protected() {
        let (own, one, two) = ("https://gateway.example", "https://one.example", "https://two.example");
        assert_eq!(wanted(own, &[]), [own]);
        assert_eq!(wanted(own, &[two, one, two]), [one, two]);
        assert_eq!(wanted(own, &["http://one.example", "ftp://x", "one", ""]), [own]);
        assert_eq!(wanted("http://10.0.0.1:8080", &["http://10.0.0.2:8080"]), ["http://10.0.0.2:8080"]);
    }
}
