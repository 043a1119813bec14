//! Embeds the built console and the built documentation: writes the table of their files that the crate includes. Without a
//! build the table is empty, and the server answers with how to build one.

use std::env;
use std::fmt::Write;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

/// Either build writes this file last, after a successful build.
const STAMP: &str = ".stamp";

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    // `dist` always exists; only its contents are build output.
    let dist = root.join("../../console/dist").canonicalize()?;
    println!("cargo::rerun-if-changed={}", dist.display());
    let (app, manual) = (dist.join("app"), dist.join("docs"));
    let mut found = Vec::new();
    for built in [&app, &manual] {
        // Without the stamp a build is still running, or has failed.
        if built.join(STAMP).is_file() {
            collect(built, &mut found)?;
        }
    }
    found.retain(|path| path.file_name().is_some_and(|name| name != STAMP));
    found.sort();
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    // Copied, so that a console rebuild during compilation cannot delete files that the compiler is about to
    // read.
    let copies = out.join("console");
    fs::create_dir_all(&copies)?;
    let mut table = String::from("&[\n");
    for path in found.iter().filter(|path| !is_packed(path)) {
        let name = path
            .strip_prefix(&app)
            .or_else(|_| path.strip_prefix(&dist))
            .unwrap_or(path)
            .to_string_lossy()
            .replace('\\', "/");
        let mut hasher = DefaultHasher::new();
        fs::read(path)?.hash(&mut hasher);
        let tag = hasher.finish();
        let mut embedded = Vec::new();
        for form in ["", ".br", ".gz"] {
            let beside = PathBuf::from(format!("{}{form}", path.display()));
            let copy = copies.join(format!("{tag:016x}{form}"));
            let is_there = found.contains(&beside);
            if is_there {
                fs::copy(&beside, &copy)?;
            }
            embedded.push(match (form, is_there) {
                ("", _) => format!("include_bytes!({copy:?})"),
                (_, true) => format!("Some(include_bytes!({copy:?}))"),
                (_, false) => "None".to_owned(),
            });
        }
        let [plain, br, gz] = embedded.as_slice() else { continue };
        let _ = writeln!(
            table,
            "File {{ path: {name:?}, tag: \"\\\"{tag:016x}\\\"\", plain: {plain}, br: {br}, gz: {gz} }},"
        );
    }
    table.push_str("]\n");
    fs::write(out.join("console_files.rs"), table)
}

fn is_packed(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "br" || extension == "gz")
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}
