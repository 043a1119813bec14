//! Libraries that are preloaded into a program under test: a clock that the test sets, and a redirect of connections to an earlier port.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Puts the seconds of a file between the kernel's clock and the program.
const SHIM: &str = r#"
    #define _GNU_SOURCE
    #include <fcntl.h>
    #include <stdlib.h>
    #include <sys/syscall.h>
    #include <time.h>
    #include <unistd.h>

    int clock_gettime(clockid_t clock, struct timespec *now) {
        int failed = syscall(SYS_clock_gettime, clock, now);
        const char *path = getenv("CLOCK_AHEAD_FILE");
        if (failed || clock != CLOCK_REALTIME || !path) return failed;
        int file = open(path, O_RDONLY | O_CLOEXEC);
        if (file < 0) return 0;
        char text[32] = {0};
        if (read(file, text, sizeof text - 1) > 0) now->tv_sec += atol(text);
        close(file);
        return 0;
    }
"#;

/// Leads connections to the port in `UPSTREAM_WAS` to that of `TIDEGATE_METADATA_URL`, which is the emulator's.
const MOVED: &str = r#"
    #define _GNU_SOURCE
    #include <arpa/inet.h>
    #include <netinet/in.h>
    #include <stdlib.h>
    #include <string.h>
    #include <sys/socket.h>
    #include <sys/syscall.h>
    #include <unistd.h>

    int connect(int socket, const struct sockaddr *to, socklen_t bytes) {
        const char *was = getenv("UPSTREAM_WAS"), *is = getenv("TIDEGATE_METADATA_URL");
        struct sockaddr_in moved;
        if (was && is && strrchr(is, ':') && bytes >= sizeof moved && to->sa_family == AF_INET) {
            memcpy(&moved, to, sizeof moved);
            if (ntohs(moved.sin_port) == atoi(was)) {
                moved.sin_port = htons(atoi(strrchr(is, ':') + 1));
                return syscall(SYS_connect, socket, &moved, sizeof moved);
            }
        }
        return syscall(SYS_connect, socket, to, bytes);
    }
"#;

fn compile(source: &str, library: &Path) {
    let file = library.with_extension("c");
    std::fs::write(&file, source).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).args([library, &file]);
    assert!(compiler.status().unwrap().success());
}

pub struct Clock(TempDir);

impl Clock {
    /// It shows the machine's time until it is set.
    pub fn new() -> Self {
        let clock = Self(tempfile::tempdir().unwrap());
        compile(SHIM, &clock.path("clock.so"));
        clock.set_ahead(0);
        clock
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// In one step, as a program reads it at any time.
    pub fn set_ahead(&self, ahead_ms: i64) {
        std::fs::write(self.path("next"), (ahead_ms / 1_000).to_string()).unwrap();
        std::fs::rename(self.path("next"), self.path("ahead")).unwrap();
    }

    /// The variables that make a program read this clock.
    pub fn environment(&self) -> [(String, String); 2] {
        [("LD_PRELOAD", "clock.so"), ("CLOCK_AHEAD_FILE", "ahead")]
            .map(|(name, file)| (name.to_owned(), self.path(file).display().to_string()))
    }

    /// The same, and finds the emulator where it was when it listened at this port.
    pub fn environment_beside(&self, upstream_was: u16) -> Vec<(String, String)> {
        compile(MOVED, &self.path("moved.so"));
        let mut environment = self.environment().to_vec();
        let (_, preloaded) = &mut environment[0];
        preloaded.push_str(&format!(" {}", self.path("moved.so").display()));
        environment.push(("UPSTREAM_WAS".to_owned(), upstream_was.to_string()));
        environment
    }
}
