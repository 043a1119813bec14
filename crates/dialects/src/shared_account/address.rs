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
