//! Each profile in a child of its own: what it forbids fails, and what it is for
//! works. A file that is there is opened for writing without the profile first, so
//! that a refusal is the profile's.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::{Profile, confine};
use crate::sys::{ipc, process};

/// Runs `work` in a child and returns what it says.
fn in_child(work: impl FnOnce() -> String) -> String {
    let (ours, theirs) = ipc::pair().unwrap();
    let mut child = process::fork(|| {
        let said = work();
        u8::from(ipc::send(theirs.as_fd(), said.as_bytes(), &[]).is_err())
    })
    .unwrap();
    drop(theirs);
    let said = ipc::receive(ours.as_fd()).unwrap();
    assert_eq!(child.wait().unwrap(), 0, "{said:?}");
    String::from_utf8(said.unwrap().bytes).unwrap()
}

fn outcome<T>(result: io::Result<T>) -> String {
    match result {
        Ok(_) => "done".to_owned(),
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOSYS) => "ENOSYS".to_owned(),
            Some(libc::EACCES) => "EACCES".to_owned(),
            Some(libc::EPERM) => "EPERM".to_owned(),
            _ => error.to_string(),
        },
    }
}

fn call(number: libc::c_long, one: i64, two: i64) -> io::Result<()> {
    // SAFETY: the tests give numbers, and pointers that are null or that the
    // kernel does not follow before it has refused.
    match unsafe { libc::syscall(number, one, two, 0, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn open_at(path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(
        rustix::fs::CWD,
        path,
        flags,
        Mode::empty(),
    )?)
}

fn open_at_2(path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat2(
        rustix::fs::CWD,
        path,
        flags,
        Mode::empty(),
        ResolveFlags::empty(),
    )?)
}

fn execute() -> io::Result<()> {
    let program = CString::new("/bin/true").unwrap();
    Err(process::execute(
        &program,
        std::slice::from_ref(&program),
        &[],
    ))
}

/// What every profile but the server's refuses, as a line each.
fn forbidden(file: &Path) -> Vec<String> {
    vec![
        format!("execve {}", outcome(execute())),
        format!("socket {}", outcome(call(libc::SYS_socket, 1, 1))),
        format!("ptrace {}", outcome(call(libc::SYS_ptrace, 0, 0))),
        format!("mount {}", outcome(call(libc::SYS_mount, 0, 0))),
        format!("unshare {}", outcome(call(libc::SYS_unshare, 0, 0))),
        format!(
            "fork {}",
            outcome(call(libc::SYS_clone, i64::from(libc::SIGCHLD), 0))
        ),
        format!("kill {}", outcome(call(libc::SYS_kill, 0, 0))),
        format!("tgkill {}", outcome(call(libc::SYS_tgkill, 1, 1))),
        format!("setown {}", outcome(call(libc::SYS_fcntl, 0, 8))),
        format!("setsig {}", outcome(call(libc::SYS_fcntl, 0, 10))),
        format!("setown_ex {}", outcome(call(libc::SYS_fcntl, 0, 15))),
        format!("write {}", outcome(open_at(file, OFlags::WRONLY))),
        format!(
            "make {}",
            outcome(open_at(&file.with_extension("n"), OFlags::CREATE))
        ),
        format!("write2 {}", outcome(open_at_2(file, OFlags::WRONLY))),
    ]
}

/// Landlock's part, where this kernel has it.
fn by_landlock() -> &'static str {
    // SAFETY: asks for the version, with no pointer.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, 0, 0, 1) };
    if version > 0 { "EACCES" } else { "done" }
}

fn expected(write2: &str, open: &str) -> Vec<String> {
    let number = [
        "execve",
        "socket",
        "ptrace",
        "mount",
        "unshare",
        "fork",
        "kill",
        "tgkill",
        "setown",
        "setsig",
        "setown_ex",
    ];
    let mut lines: Vec<String> = number.map(|name| format!("{name} ENOSYS")).into();
    lines.push(format!("write {open}"));
    lines.push(format!("make {open}"));
    lines.push(format!("write2 {write2}"));
    lines
}

/// A file with content; also shows that without a profile it can be written.
fn file() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, "content").unwrap();
    assert_eq!(outcome(open_at(&path, OFlags::WRONLY)), "done");
    assert_eq!(outcome(open_at_2(&path, OFlags::WRONLY)), "done");
    (folder, path)
}

#[test]
fn a_reader_of_images_reads_and_does_nothing_else() {
    let (_folder, path) = file();
    let said = in_child(|| {
        confine(Profile::ReadImage).unwrap();
        let mut lines = forbidden(&path);
        lines.push(std::fs::read_to_string(&path).unwrap());
        let memory = ipc::memory_file("test", b"in memory").unwrap();
        let mut text = String::new();
        File::from(memory).read_to_string(&mut text).unwrap();
        lines.push(text);
        // A bigger piece comes by mmap.
        lines.push(vec![b'x'; 1 << 20].len().to_string());
        lines.join("\n")
    });
    let mut lines = expected(by_landlock(), "ENOSYS");
    lines.extend(["content", "in memory", "1048576"].map(str::to_owned));
    assert_eq!(said, lines.join("\n"));
}

#[test]
fn a_reader_of_a_tree_reads_nothing_outside() {
    let (folder, path) = file();
    let (_other, outside) = file();
    let said = in_child(|| {
        let root = File::open(folder.path()).unwrap();
        let mut inside = File::create(folder.path().join("open")).unwrap();
        confine(Profile::ReadTree(root.as_fd())).unwrap();
        let mut lines = forbidden(&path);
        lines.push(std::fs::read_to_string(&path).unwrap());
        lines.push(outcome(open_at(&outside, OFlags::RDONLY)));
        lines.push(outcome(open_at(folder.path(), OFlags::RDONLY)));
        // What was open before is written on.
        lines.push(outcome(inside.write_all(b"more")));
        lines.join("\n")
    });
    let mut lines = expected(by_landlock(), "ENOSYS");
    lines.extend(["content", by_landlock(), "done", "done"].map(str::to_owned));
    assert_eq!(said, lines.join("\n"));
}

#[test]
fn who_computes_opens_nothing() {
    let (_folder, path) = file();
    let said = in_child(|| {
        let mut open = File::open(&path).unwrap();
        confine(Profile::Compute).unwrap();
        let mut lines = forbidden(&path);
        lines.push(outcome(open_at(&path, OFlags::RDONLY)));
        let mut text = String::new();
        open.read_to_string(&mut text).unwrap();
        lines.push(text);
        lines.push(vec![b'x'; 1 << 20].len().to_string());
        lines.join("\n")
    });
    let mut lines = expected("ENOSYS", "ENOSYS");
    lines.extend(["ENOSYS", "content", "1048576"].map(str::to_owned));
    assert_eq!(said, lines.join("\n"));
}

/// A panic says so by the exit code, as without a profile.
#[test]
fn a_panic_is_seen() {
    for profile in [Profile::ReadImage, Profile::Compute] {
        let mut child = process::fork(|| {
            if confine(profile).is_err() {
                return 1;
            }
            std::panic::panic_any(1)
        })
        .unwrap();
        assert_eq!(child.wait().unwrap(), 101, "{profile:?}");
    }
}

/// An abort ends it by its signal: it may signal itself.
#[test]
fn an_abort_is_seen() {
    let mut child = process::fork(|| {
        if confine(Profile::Compute).is_err() {
            return 1;
        }
        std::process::abort()
    })
    .unwrap();
    assert_eq!(child.wait().unwrap(), 128 + libc::SIGABRT);
}

/// Calls of a server that reach other processes or make namespaces, and what they
/// must say. Without the profile each would say something else: the pointers are
/// null, and `CLONE_SIGHAND` alone is never valid, so that nothing comes of it.
fn by_a_server() -> Vec<(String, String)> {
    let other = i64::from(std::os::unix::process::parent_id());
    let own = i64::from(std::process::id());
    let fault = || io::Error::from_raw_os_error(libc::EFAULT).to_string();
    let invalid = || io::Error::from_raw_os_error(libc::EINVAL).to_string();
    let refused = || "EPERM".to_owned();
    let sighand = i64::from(libc::CLONE_SIGHAND);
    let mut calls = vec![
        ("affinity", libc::SYS_sched_setaffinity, other, 8, refused()),
        ("own affinity", libc::SYS_sched_setaffinity, 0, 8, fault()),
        ("own pid's", libc::SYS_sched_setaffinity, own, 8, fault()),
        (
            "scheduler",
            libc::SYS_sched_setscheduler,
            other,
            0,
            refused(),
        ),
        ("parameters", libc::SYS_sched_setparam, other, 0, refused()),
        ("attributes", libc::SYS_sched_setattr, other, 0, refused()),
        ("priority", libc::SYS_setpriority, 0, 0, refused()),
        ("io priority", libc::SYS_ioprio_set, 1, 0, refused()),
        ("clone3", libc::SYS_clone3, 0, 0, "ENOSYS".to_owned()),
        ("clone", libc::SYS_clone, sighand, 0, invalid()),
        ("setown", libc::SYS_fcntl, 0, 8, refused()),
        ("setsig", libc::SYS_fcntl, 0, 10, refused()),
        ("setown_ex", libc::SYS_fcntl, 0, 15, refused()),
        ("getfd", libc::SYS_fcntl, 0, 1, "done".to_owned()),
    ];
    for namespace in [
        libc::CLONE_NEWNS,
        libc::CLONE_NEWCGROUP,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
    ] {
        let flags = i64::from(namespace) | sighand;
        calls.push(("namespace", libc::SYS_clone, flags, 0, refused()));
    }
    calls
        .into_iter()
        .map(|(name, number, one, two, wanted)| {
            let said = outcome(call(number, one, two));
            (
                format!("{name} {one:#x}: {said}"),
                format!("{name} {one:#x}: {wanted}"),
            )
        })
        .collect()
}

/// The server's own program runs, with what it is refused.
#[test]
fn a_server_is_executed_and_reaches_nobody() {
    let (_folder, path) = file();
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    // The command is no list of ours: its calls are what a program may do.
    let script = format!(
        "exec 2>&1; cat <&3; echo; cat {0}; echo x >{0}; kill -0 $PPID; mv {0} {0}.n; chmod 600 {0}; echo end",
        path.display()
    );
    let argument = |text: &str| CString::new(text).unwrap();
    let program = argument("/bin/sh");
    let arguments = [argument("sh"), argument("-c"), argument(&script)];
    let mut child = process::fork(|| {
        let image = File::open(&path).unwrap();
        process::place_descriptor(writer.as_fd(), 1).unwrap();
        process::place_descriptor(image.as_fd(), 3).unwrap();
        let profile = Profile::Server {
            program: Path::new("/bin/sh"),
            library: None,
            image: image.as_fd(),
        };
        if confine(profile).is_err() {
            return 1;
        }
        // Threads it may have: the C library asks for them with the same call.
        if std::thread::spawn(|| 7).join().ok() != Some(7) {
            return 2;
        }
        for (said, wanted) in by_a_server() {
            if said != wanted {
                let line = format!("{said}, not {wanted}\n");
                let _ = rustix::io::write(process::standing(1), line.as_bytes());
            }
        }
        let environment = [argument("PATH=/usr/bin:/bin"), argument("LC_ALL=C")];
        let _ = process::execute(&program, &arguments, &environment);
        127
    })
    .unwrap();
    drop(writer);
    let mut said = String::new();
    File::from(reader).read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap(), 0, "{said}");
    let lines: Vec<&str> = said.lines().collect();
    let has = |one: &str, other: &str| {
        let mut lines = lines.iter();
        lines.any(|line| line.contains(one) && line.contains(other))
    };
    assert_eq!(lines.first(), Some(&"content"), "{said}");
    assert_eq!(lines.last(), Some(&"end"), "{said}");
    for (one, other) in [
        ("cannot create", "denied"),
        ("kill", "Operation not permitted"),
        ("mv: ", "cannot move"),
        ("chmod: ", "Operation not permitted"),
    ] {
        assert!(
            has(one, other) || has(one, "not permitted"),
            "{one}: {said}"
        );
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "content");
}
