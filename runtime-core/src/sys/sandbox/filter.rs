//! Which system calls a confined process may make: seccomp(2).
//!
//! Lists of what readers need, and of what a server has no use for. A call of
//! another architecture's table ends the process (`seccompiler` sees to that), and
//! so does the x32 table where only some calls are forbidden.

use std::collections::BTreeMap;
use std::io;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, sock_filter,
};

use super::{Profile, tree};

/// On descriptors that are there, in own memory, and about oneself.
const COMPUTE: &[c_long] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_fadvise64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_sendmsg,
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_ppoll,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_membarrier,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getgroups,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // By descriptor; a path tells no more than that it is there.
    libc::SYS_newfstatat,
    libc::SYS_statx,
];

/// Finding files and looking at them. openat2's flags lie in memory, where no
/// filter sees them: that it writes nothing is for Landlock to say.
const READ: &[c_long] = &[
    libc::SYS_openat2,
    libc::SYS_readlinkat,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_fgetxattr,
    libc::SYS_flistxattr,
    libc::SYS_memfd_create,
];

/// What the oldest architecture has besides, and newer ones no longer.
#[cfg(target_arch = "x86_64")]
const COMPUTE_OLD: &[c_long] = &[libc::SYS_poll, libc::SYS_time, libc::SYS_arch_prctl];
#[cfg(not(target_arch = "x86_64"))]
const COMPUTE_OLD: &[c_long] = &[];

#[cfg(target_arch = "x86_64")]
const READ_OLD: &[c_long] = &[
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_getdents,
];
#[cfg(not(target_arch = "x86_64"))]
const READ_OLD: &[c_long] = &[];

/// What a FUSE server has no use for: other processes, the machine, the network,
/// memory shared by name, mounts, and changes to files (of which Landlock leaves
/// owners, modes and times alone).
const NOT_FOR_SERVERS: &[c_long] = &[
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_kcmp,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_setpriority,
    libc::SYS_ioprio_set,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_setattr,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_semget,
    libc::SYS_semctl,
    libc::SYS_semop,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_fanotify_init,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_quotactl,
    libc::SYS_acct,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_reboot,
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_syslog,
    libc::SYS_personality,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    // Its flags cannot be seen, and the C library opens with openat.
    libc::SYS_openat2,
    libc::SYS_mknodat,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_symlinkat,
    libc::SYS_linkat,
    libc::SYS_renameat2,
    libc::SYS_truncate,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    // By number, while not every C library has their names: fchmodat2, setxattrat,
    // removexattrat, open_tree_attr, file_setattr.
    452,
    463,
    466,
    467,
    469,
];

#[cfg(target_arch = "x86_64")]
const NOT_FOR_SERVERS_OLD: &[c_long] = &[
    libc::SYS_kexec_file_load,
    libc::SYS_modify_ldt,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_creat,
    libc::SYS_mknod,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_unlink,
    libc::SYS_symlink,
    libc::SYS_link,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
];
#[cfg(not(target_arch = "x86_64"))]
const NOT_FOR_SERVERS_OLD: &[c_long] = &[
    libc::SYS_kexec_file_load,
    // renameat, which has no name in the library.
    38,
];

/// Flags with which open(2) changes something.
const WRITING: u64 =
    (libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC | libc::O_APPEND) as u64;

/// Flags with which clone(2) makes a namespace, and so a user namespace in which
/// the process has every capability. That of the time namespace is a part of the
/// exit signal's number there, and means nothing.
const NAMESPACES: u64 = 0x7e02_0080;

/// What fcntl(2) may not do: a descriptor whose owner is another process signals
/// that one, and the signal may be any. linux/fcntl.h
const OWNERS: [u64; 3] = [
    8,  // F_SETOWN
    10, // F_SETSIG
    15, // F_SETOWN_EX
];

type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

/// Compiles and installs a profile's filters. Of several, the strictest word counts.
pub(super) fn install(profile: Profile<'_>) -> io::Result<()> {
    match profile {
        Profile::Compute => install_reader(&[COMPUTE, COMPUTE_OLD], false),
        Profile::ReadImage | Profile::ReadTree(_) => {
            install_reader(&[COMPUTE, COMPUTE_OLD, READ, READ_OLD], true)
        }
        Profile::Server { .. } => {
            load(&tree::without_x32())?;
            // Its flags cannot be seen; C libraries then take clone.
            load(&refusing(anyway(&[&[libc::SYS_clone3]]), libc::ENOSYS)?)?;
            load(&refusing(server()?, libc::EPERM)?)
        }
    }
}

/// The list alone decides nearly everything, and is found fast; a second program
/// looks at the arguments of the few calls that may be made in one way only.
fn install_reader(lists: &[&[c_long]], opens: bool) -> io::Result<()> {
    let in_one_way = in_one_way(opens)?;
    let mut listed: Vec<c_long> = lists.concat();
    listed.extend(in_one_way.keys());
    let too_long = || io::Error::from_raw_os_error(libc::E2BIG);
    let list = tree::allow_only(&listed, libc::ENOSYS).ok_or_else(too_long)?;
    load(&refusing(in_one_way, libc::ENOSYS)?)?;
    load(&list)
}

/// A program that fails what the rules describe, and allows all else.
fn refusing(rules: Rules, errno: i32) -> io::Result<BpfProgram> {
    let refused = SeccompAction::Errno(errno.unsigned_abs());
    std::env::consts::ARCH
        .try_into()
        .and_then(|arch| SeccompFilter::new(rules, SeccompAction::Allow, refused, arch))
        .and_then(BpfProgram::try_from)
        .map_err(io::Error::other)
}

/// Calls that a reader may make in one way only, and the ways that it may not.
fn in_one_way(opens: bool) -> io::Result<Rules> {
    let mut rules = Rules::new();
    // Nothing that a parser has written becomes code.
    let code = || rule(&[with(2, libc::PROT_EXEC as u64)?]);
    rules.insert(libc::SYS_mmap, vec![code()?]);
    rules.insert(libc::SYS_mprotect, vec![code()?]);
    // abort(3) signals itself, and a limit may be asked for, not set.
    rules.insert(libc::SYS_tgkill, vec![rule(&[differs(0, own_pid())?])?]);
    rules.insert(
        libc::SYS_prlimit64,
        vec![rule(&[differs(0, 0)?])?, rule(&[is_pointer(2)?])?],
    );
    rules.insert(libc::SYS_fcntl, owning()?);
    if opens {
        rules.insert(libc::SYS_openat, writing(2)?);
        #[cfg(target_arch = "x86_64")]
        rules.insert(libc::SYS_open, writing(1)?);
    }
    Ok(rules)
}

/// open(2) with any flag that changes something; `index` is that of the flags.
fn writing(index: u8) -> io::Result<Vec<SeccompRule>> {
    any_of(index, WRITING)
}

/// fcntl(2) that says whom a descriptor signals, or how.
fn owning() -> io::Result<Vec<SeccompRule>> {
    let equals = |command| condition(1, SeccompCmpOp::Eq, command);
    OWNERS
        .into_iter()
        .map(|command| rule(&[equals(command)?]))
        .collect()
}

/// What is refused to a server; the rest is not.
fn server() -> io::Result<Rules> {
    let mut rules = anyway(&[NOT_FOR_SERVERS, NOT_FOR_SERVERS_OLD]);
    let others = |index| Ok::<_, io::Error>([differs(index, 0)?, differs(index, own_pid())?]);
    // Threads are ended with tgkill, and limits of its own are its own matter.
    rules.insert(libc::SYS_tgkill, vec![rule(&[differs(0, own_pid())?])?]);
    rules.insert(libc::SYS_prlimit64, vec![rule(&others(0)?)?]);
    rules.insert(libc::SYS_sched_setaffinity, vec![rule(&others(0)?)?]);
    rules.insert(libc::SYS_clone, any_of(0, NAMESPACES)?);
    rules.insert(libc::SYS_fcntl, owning()?);
    rules.insert(libc::SYS_openat, writing(2)?);
    #[cfg(target_arch = "x86_64")]
    rules.insert(libc::SYS_open, writing(1)?);
    Ok(rules)
}

/// These calls, whatever their arguments.
fn anyway(lists: &[&[c_long]]) -> Rules {
    lists
        .iter()
        .flat_map(|list| list.iter())
        .map(|number| (*number, Vec::new()))
        .collect()
}

fn own_pid() -> u64 {
    u64::from(std::process::id())
}

fn rule(conditions: &[SeccompCondition]) -> io::Result<SeccompRule> {
    SeccompRule::new(conditions.to_vec()).map_err(io::Error::other)
}

fn condition(index: u8, operator: SeccompCmpOp, value: u64) -> io::Result<SeccompCondition> {
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, value).map_err(io::Error::other)
}

/// Not null.
fn is_pointer(index: u8) -> io::Result<SeccompCondition> {
    SeccompCondition::new(index, SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, 0)
        .map_err(io::Error::other)
}

fn differs(index: u8, value: u64) -> io::Result<SeccompCondition> {
    condition(index, SeccompCmpOp::Ne, value)
}

/// At least one of these bits of 32.
fn any_of(index: u8, bits: u64) -> io::Result<Vec<SeccompRule>> {
    (0..32)
        .map(|bit| 1 << bit)
        .filter(|bit| bits & bit != 0)
        .map(|bit| rule(&[with(index, bit)?]))
        .collect()
}

/// All of these bits.
fn with(index: u8, bits: u64) -> io::Result<SeccompCondition> {
    condition(index, SeccompCmpOp::MaskedEq(bits), bits)
}

/// seccomp(2). Kernels before 5.16 answer a filter with slower speculation for the
/// whole process, to hide secrets that nothing here has, so that is declined.
fn load(program: &[sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(io::Error::other)?,
        filter: program.as_ptr().cast_mut().cast(),
    };
    rustix::thread::set_no_new_privs(true)?;
    // SAFETY: the kernel copies the program, which is as long as it says;
    // seccompiler's instruction has the layout of the kernel's.
    let done = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
            &raw const program,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
