//! A filter of system calls for the processes of a sandbox: it denies calls that no tool needs and that kernels were broken by.

use std::io;

use libc::{SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, c_long, c_ulong, sock_filter};

/// Mounts, files by handle, other processes' memory, the kernel's programs, counters and keys, namespaces, and queues of calls.
const DENIED: &[c_long] = &[
    libc::SYS_mount,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_bpf,
    libc::SYS_userfaultfd,
    libc::SYS_perf_event_open,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_kexec_load,
    libc::SYS_io_uring_setup,
];

/// Whose numbers these are, as the kernel's audit names it. Another one's calls would have other numbers, so all are denied.
const ARCHITECTURE: u32 = if cfg!(target_arch = "x86_64") { 0xC000_003E } else { 0xC000_00B7 };
/// Numbers from here on are of the ABI x32.
const X32: u32 = 0x4000_0000;
const DENY: u32 = SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs();
const NOT_THERE: u32 = SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();

// Instructions of classic BPF.
const LOAD: u16 = 0x20;
const IF_EQUAL: u16 = 0x15;
const IF_AT_LEAST: u16 = 0x35;
const IF_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;
// Where the kernel shows a call's number, its architecture and the lower half of its first argument.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
const FLAGS_AT: u32 = 16;

/// An instruction; a comparison skips so many if it holds, and so many otherwise.
const fn step(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

const fn deciding(code: u16, k: u32, decision: u32) -> [sock_filter; 2] {
    [step(code, k, 0, 1), step(RETURN, decision, 0, 0)]
}

fn number(call: c_long) -> u32 {
    u32::try_from(call).unwrap_or(u32::MAX)
}

fn program() -> Vec<sock_filter> {
    let mut program = vec![step(LOAD, ARCHITECTURE_AT, 0, 0), step(IF_EQUAL, ARCHITECTURE, 1, 0)];
    program.extend([step(RETURN, DENY, 0, 0), step(LOAD, NUMBER_AT, 0, 0)]);
    program.extend(deciding(IF_AT_LEAST, X32, DENY));
    program.extend(DENIED.iter().flat_map(|call| deciding(IF_EQUAL, number(*call), DENY)));
    // Its flags are behind a pointer, where no filter can look. Libraries use the older call where the kernel has no such.
    program.extend(deciding(IF_EQUAL, number(libc::SYS_clone3), NOT_THERE));
    program.extend([step(IF_EQUAL, number(libc::SYS_clone), 1, 0), step(RETURN, SECCOMP_RET_ALLOW, 0, 0)]);
    program.push(step(LOAD, FLAGS_AT, 0, 0));
    program.extend(deciding(IF_ANY_BIT, libc::CLONE_NEWUSER.unsigned_abs(), DENY));
    program.push(step(RETURN, SECCOMP_RET_ALLOW, 0, 0));
    program
}

/// Sets the filter, for this thread and all that it starts, for ever. It can't get privileges any more by then.
pub(crate) fn filter() -> io::Result<()> {
    let mut program = program();
    let len = u16::try_from(program.len()).map_err(io::Error::other)?;
    let filter = libc::sock_fprog { len, filter: program.as_mut_ptr() };
    let mode = c_ulong::from(libc::SECCOMP_MODE_FILTER);
    #[expect(unsafe_code, reason = "no safe function sets a filter")]
    // SAFETY: the kernel copies the program, which is there until the call returns.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const filter) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The program's decision, as the kernel runs it.
    fn decided(architecture: u32, call: u32, flags: u32) -> u32 {
        let (program, mut at, mut word) = (program(), 0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            let holds = match code {
                LOAD => {
                    word = match k {
                        NUMBER_AT => call,
                        ARCHITECTURE_AT => architecture,
                        _ => flags,
                    };
                    false
                }
                RETURN => return k,
                IF_EQUAL => word == k,
                IF_AT_LEAST => word >= k,
                IF_ANY_BIT => word & k != 0,
                other => panic!("{other}"),
            };
            at += 1 + usize::from(if holds { jt } else { jf });
        }
    }

    #[test]
    fn what_no_tool_needs_is_denied_and_the_rest_is_not() {
        for call in DENIED {
            assert_eq!(decided(ARCHITECTURE, number(*call), 0), DENY, "{call}");
        }
        for call in [libc::SYS_read, libc::SYS_execve, libc::SYS_clone, libc::SYS_prctl, libc::SYS_futex] {
            assert_eq!(decided(ARCHITECTURE, number(call), 0x11), SECCOMP_RET_ALLOW, "{call}");
            assert_eq!(decided(ARCHITECTURE, number(call) | X32, 0x11), DENY, "{call}");
            assert_eq!(decided(0x4000_0003, number(call), 0x11), DENY, "{call} of 32 bits");
        }
        assert_eq!(decided(ARCHITECTURE, number(libc::SYS_clone), 0x1000_0011), DENY);
        assert_eq!(decided(ARCHITECTURE, number(libc::SYS_clone3), 0), NOT_THERE);
    }
}
