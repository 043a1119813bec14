//! The key that a verification trusts, as `--key` gives it.

use std::fs;

use cli::output::{self, Failure};
use proof::PublicKey;

/// The key of an option, or of the file that it names; `None` where it wasn't given, so that the key inside a document counts.
pub fn trusted_key(option: Option<&str>) -> Result<Option<PublicKey>, Failure> {
    let Some(text) = option else { return Ok(None) };
    let in_file = || fs::read_to_string(text).ok().and_then(|written| first_key(&written));
    text.trim().parse().ok().or_else(in_file).map(Some).ok_or_else(|| {
        let text = output::printable(text);
        Failure::new(output::USAGE, format!("{text} is neither a public key nor a file with one."))
            .fix("Give the 64 hexadecimal digits that `tidegate audit key` prints, or a file with them.")
    })
}

/// As `tidegate audit key > FILE` writes it: beside its name, or in JSON.
fn first_key(written: &str) -> Option<PublicKey> {
    written.split(|letter: char| !letter.is_ascii_hexdigit()).find_map(|word| word.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_given_as_digits_or_in_a_file() {
        let digits = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        let given = trusted_key(Some(digits)).unwrap().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.pub");
        for written in [format!("{digits}\n"), format!("object  audit_key\npublic_key  {digits}\n")] {
            fs::write(&file, written).unwrap();
            assert_eq!(trusted_key(file.to_str()).unwrap(), Some(given));
        }
        fs::write(&file, "no key\n").unwrap();
        for wrong in [file.to_str().unwrap(), "nowhere.pub"] {
            let refused = trusted_key(Some(wrong)).unwrap_err();
            assert!(refused.message.contains(wrong) && refused.fix_text().unwrap().contains("audit key"));
        }
        assert!(trusted_key(None).unwrap().is_none());
    }
}
