//! The demo model that the binary holds, as files of a directory.

use std::fs;
use std::io;
use std::path::Path;

macro_rules! file {
    ($name:literal) => {
        ($name, include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../builtin/model/", $name)))
    };
}

const FILES: [(&str, &[u8]); 5] = [
    file!("config.json"),
    file!("generation_config.json"),
    file!("tokenizer_config.json"),
    file!("tokenizer.json"),
    file!("model.safetensors"),
];

/// Writes the files that are missing there or differ.
pub fn write_to(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    for (name, bytes) in FILES {
        let path = directory.join(name);
        if fs::read(&path).is_ok_and(|present| present == bytes) {
            continue;
        }
        fs::write(&path, bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_cut_is_written_again() {
        let root = tempfile::tempdir().unwrap();
        write_to(root.path()).unwrap();
        let weights = root.path().join("model.safetensors");
        let whole = fs::read(&weights).unwrap();
        fs::write(&weights, &whole[..100]).unwrap();
        write_to(root.path()).unwrap();
        assert_eq!(fs::read(&weights).unwrap(), whole);
    }
}
