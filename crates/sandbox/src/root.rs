//! The file system of a sandbox: the system's programs and libraries, what the operator passes on, all to be read alone, and a
//! `/tmp` in memory.

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind_recursive, mount_change,
    mount_remount, unmount,
};
use rustix::process::{chdir, pivot_root};

use crate::enter::{Failed, failed};
use crate::limits::{SKELETON, TEMPORARY};
use crate::order::{PROXY, Start};

/// What programs need of the system, where it is there.
const SYSTEM: [&str; 16] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/pki",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
];
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];
/// The file system of the machine, until it is let go of.
const OLD: &str = "/old";
const SAFE: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);

/// Replaces the root directory of this process's mount namespace.
pub(crate) fn build(start: &Start) -> Result<(), Failed> {
    let what = "its file system can't be built";
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).map_err(failed(what))?;
    // Any directory serves as the place of the new root: it is the root before anything under the place is read again.
    memory("/tmp", SKELETON).map_err(failed(what))?;
    fs::create_dir("/tmp/old").map_err(failed(what))?;
    pivot_root("/tmp", "/tmp/old").map_err(failed(what))?;
    chdir("/").map_err(failed(what))?;
    make_own().map_err(failed(what))?;
    for path in SYSTEM.into_iter().chain(DEVICES) {
        pass_on(Path::new(path)).or_else(where_missing).map_err(failed(what))?;
    }
    // A path after those that it is in.
    let wanted: BTreeSet<&str> = start.program.read.iter().map(String::as_str).collect();
    for path in wanted {
        pass_on(Path::new(path)).map_err(failed("a path of \"read\" can't be passed on"))?;
    }
    if let Some(socket) = &start.proxy {
        fs::write(PROXY, "").map_err(failed(what))?;
        bind(&old(socket), Path::new(PROXY)).map_err(failed("the proxy's socket can't be passed on"))?;
    }
    // In a container, whose own /proc is covered in part, the kernel allows no other; most programs do without.
    let proc_flags = SAFE | MountFlags::NOEXEC;
    let _ = mount("proc", "/proc", "proc", proc_flags, None::<&CStr>);
    unmount(OLD, UnmountFlags::DETACH).map_err(failed(what))?;
    fs::remove_dir(OLD).map_err(failed(what))?;
    mount_remount("/", MountFlags::BIND | MountFlags::RDONLY | SAFE, c"").map_err(failed(what))
}

fn memory(place: &str, options: &str) -> io::Result<()> {
    let options = std::ffi::CString::new(options)?;
    Ok(mount("tmpfs", place, "tmpfs", SAFE, options.as_c_str())?)
}

/// What is the sandbox's own.
fn make_own() -> io::Result<()> {
    for directory in ["/dev", "/etc", "/proc", "/run", "/tmp"] {
        fs::create_dir(directory)?;
    }
    memory("/tmp", TEMPORARY)?;
    fs::write("/etc/hosts", "127.0.0.1 localhost sandbox\n::1 localhost\n")?;
    fs::write("/etc/passwd", "user:x:1000:1000:user:/tmp:/bin/sh\n")?;
    fs::write("/etc/group", "user:x:1000:\n")?;
    fs::write("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n")?;
    symlink("/proc/self/fd", "/dev/fd")
}

fn old(path: &Path) -> PathBuf {
    Path::new(OLD).join(path.strip_prefix("/").unwrap_or(path))
}

fn where_missing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Shows a path of the machine. A link stays a link.
fn pass_on(path: &Path) -> io::Result<()> {
    let source = old(path);
    let found = fs::symlink_metadata(&source)?;
    if fs::symlink_metadata(path).is_ok_and(|there| there.is_symlink()) {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    if found.is_symlink() {
        return symlink(fs::read_link(&source)?, path);
    }
    if fs::symlink_metadata(path).is_err() {
        if found.is_dir() { fs::create_dir(path)? } else { fs::write(path, "")? }
    }
    bind(&source, path)
}

fn bind(source: &Path, target: &Path) -> io::Result<()> {
    mount_bind_recursive(source, target)?;
    let is_device = target.starts_with("/dev");
    let safe = if is_device { MountFlags::NOSUID | MountFlags::NOEXEC } else { SAFE };
    for (place, flags) in mounts_under(target)? {
        // Flags that the mount has already are not the sandbox's to take away.
        mount_remount(&place, MountFlags::BIND | MountFlags::RDONLY | safe | flags, c"")?;
    }
    Ok(())
}

/// A mount and those under it, with the flags that they have.
fn mounts_under(target: &Path) -> io::Result<Vec<(PathBuf, MountFlags)>> {
    let table = fs::read_to_string("/old/proc/thread-self/mountinfo")
        .or_else(|_| fs::read_to_string("/old/proc/self/mountinfo"))?;
    Ok(table.lines().filter_map(mount_of).filter(|(place, _)| place.starts_with(target)).collect())
}

/// The place and the flags of a line of `mountinfo`.
fn mount_of(line: &str) -> Option<(PathBuf, MountFlags)> {
    let mut fields = line.split(' ').skip(4);
    let place = unescaped(fields.next()?);
    let flags = fields.next()?.split(',').fold(MountFlags::empty(), |flags, word| {
        flags
            | match word {
                "nodev" => MountFlags::NODEV,
                "noexec" => MountFlags::NOEXEC,
                "noatime" => MountFlags::NOATIME,
                "nodiratime" => MountFlags::NODIRATIME,
                "relatime" => MountFlags::RELATIME,
                _ => MountFlags::empty(),
            }
    });
    Some((PathBuf::from(place), flags))
}

/// Spaces and the like are octal numbers in the table.
fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        plain.push_str(before);
        let code = after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code.filter(u8::is_ascii) {
            Some(code) => {
                plain.push(char::from(code));
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                plain.push('\\');
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_table_has_a_place_and_flags() {
        let line = r"36 35 98:0 / /mnt/a\040b ro,noexec,relatime master:1 - ext3 /dev/root rw";
        let (place, flags) = mount_of(line).unwrap();
        assert_eq!(place, Path::new("/mnt/a b"));
        assert_eq!(flags, MountFlags::NOEXEC | MountFlags::RELATIME);
        assert!(mount_of("1 2").is_none());
        assert_eq!(unescaped(r"a\b\134"), r"a\b\");
    }
}
