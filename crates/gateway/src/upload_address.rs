//! Reads the address of an upload.

use conversation::request::Addressed;

/// The provider or model that an upload's address names.
pub fn read(query: &str) -> Addressed {
    let parameter = |name: &str| {
        let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let value = value.map(|value| percent_encoding::percent_decode_str(value).decode_utf8_lossy());
        value.map(std::borrow::Cow::into_owned).filter(|value| !value.is_empty())
    };
    Addressed {
        model: parameter("model").unwrap_or_default(),
        provider: parameter("provider"),
        ..Addressed::default()
    }
}
