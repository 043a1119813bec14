//! URLs that a provider may be told to fetch on an account that several workspaces share.

const DATA: &str = "data:";
const SECURE: &str = "https://";

/// Whether an address is a data URL, or a public URL outside the provider's own storage. An address that two
/// parsers could read differently is rejected.
pub fn is_public_address(address: &str, is_own_host: &dyn Fn(&str) -> bool) -> bool {
    if starts_with(address, DATA) {
        return true;
    }
    let is_odd = |letter: char| letter.is_control() || letter.is_whitespace() || letter == '\\';
    if !starts_with(address, SECURE) || address.contains(is_odd) {
        return false;
    }
    let rest = address.get(SECURE.len()..).unwrap_or_default();
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (host, port) = authority.split_once(':').unwrap_or((authority, "443"));
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    is_port && is_public_name(&host) && !is_own_host(&host)
}

fn starts_with(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// Whether this is a public domain name: several labels, the last not numeric. This excludes IP addresses and
/// names of internal networks.
fn is_public_name(host: &str) -> bool {
    const INNER: [&str; 5] = ["local", "localhost", "internal", "home", "lan"];
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let labels: Vec<&str> = host.split('.').collect();
    let is_label = |label: &&str| !label.is_empty() && label.bytes().all(is_letter);
    let last = labels.last().copied().unwrap_or_default();
    labels.len() > 1
        && labels.iter().all(is_label)
        && last.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && !INNER.contains(&last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_outside_of_the_providers_own_store_are_fetched() {
        let is_own = |host: &str| host == "store.example.com" || host.ends_with(".store.example.com");
        for (address, is_public) in [
            ("https://example.com/a.png", true),
            ("HTTPS://Example.com:8443/a.png?x=1#y", true),
            ("https://example.com", true),
            ("https://example.com./a", true),
            ("https://store.example.com.evil.example/a", true),
            ("https://example.com/a b", false),
            ("https://xn--bcher-kva.example/a", true),
            ("https://example.com/\u{e4}.png", true),
            ("data:image/png;base64,AAAA", true),
            ("http://example.com/a.png", false),
            ("gs://operator-private/payroll.pdf", false),
            ("s3://operator-private/payroll.pdf", false),
            ("files/abc", false),
            ("file-abc", false),
            ("//example.com/a", false),
            ("https:example.com/a", false),
            ("https:/example.com/a", false),
            ("https://store.example.com/v1/files/a", false),
            ("https://STORE.example.com./v1/files/a", false),
            ("https://eu.store.example.com/a", false),
            ("https://me@store.example.com/a", false),
            ("https://example.com@store.example.com/a", false),
            ("https://example.com:x@store.example.com/a", false),
            ("https://store.example.com\\@example.com/a", false),
            ("https://store%2eexample.com/a", false),
            ("https://store\u{3002}example\u{3002}com/a", false),
            ("https://sto\tre.example.com/a", false),
            ("https://localhost/a", false),
            ("https://metadata/a", false),
            ("https://metadata.google.internal/a", false),
            ("https://127.0.0.1/a", false),
            ("https://0x7f.1/a", false),
            ("https://2130706433/a", false),
            ("https://[::1]/a", false),
            ("https:///a", false),
            ("https://example.com:/a", false),
            ("", false),
        ] {
            assert_eq!(is_public_address(address, &is_own), is_public, "{address}");
        }
    }
}
