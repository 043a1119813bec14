//! Lists the built console, so that it is embedded; without one the list is empty and the server says how to build it.

use std::env;
use std::fmt::Write;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    // The folder is always there; only what is built in it is not.
    let dist = root.join("../../console/dist").canonicalize()?;
    println!("cargo::rerun-if-changed={}", dist.display());
    let app = dist.join("app");
    let mut found = Vec::new();
    if app.is_dir() {
        collect(&app, &mut found)?;
    }
    // The stamp of the build script is no file of the console.
    found.retain(|path| path.file_name().is_some_and(|name| name != ".stamp"));
    found.sort();
    let mut table = String::from("&[\n");
    for path in found.iter().filter(|path| !is_packed(path)) {
        let name = path.strip_prefix(&app).unwrap_or(path).to_string_lossy().replace('\\', "/");
        let mut hasher = DefaultHasher::new();
        fs::read(path)?.hash(&mut hasher);
        let tag = hasher.finish();
        let packed = |extension: &str| {
            let beside = PathBuf::from(format!("{}.{extension}", path.display()));
            if found.contains(&beside) {
                format!("Some(include_bytes!({beside:?}))")
            } else {
                "None".to_owned()
            }
        };
        let (br, gz) = (packed("br"), packed("gz"));
        let _ = writeln!(
            table,
            "File {{ path: {name:?}, tag: \"\\\"{tag:016x}\\\"\", plain: include_bytes!({path:?}), br: {br}, gz: {gz} }},"
        );
    }
    table.push_str("]\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
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
