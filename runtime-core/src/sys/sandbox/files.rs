//! Which files a confined process reaches: landlock(7).
//!
//! What the kernel is too old for is left out, right by right; nothing is left out
//! by choice. Signals and abstract sockets to processes outside are closed from
//! Linux 6.12 on, TCP from 6.7 on.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, Scope,
};

/// The newest rights that are known here; older kernels know fewer.
const NEWEST: ABI = ABI::V7;

/// A ruleset that forbids these rights to files, and everything towards other
/// processes and hosts.
fn forbid(files: BitFlags<AccessFs>) -> io::Result<RulesetCreated> {
    Ruleset::default()
        .handle_access(files)
        .and_then(|rules| rules.handle_access(AccessNet::from_all(NEWEST)))
        .and_then(|rules| rules.scope(Scope::from_all(NEWEST)))
        .and_then(Ruleset::create)
        .map_err(io::Error::other)
}

/// Allows these rights at a place and, for a directory, below it. A place that
/// takes no rule (one of the kernel's own file systems) stays forbidden.
fn allow(
    rules: RulesetCreated,
    place: impl AsFd,
    rights: BitFlags<AccessFs>,
) -> io::Result<RulesetCreated> {
    let is_directory = rustix::fs::fstat(&place)
        .map(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir())?;
    let rights = match is_directory {
        true => rights,
        false => rights & AccessFs::from_file(NEWEST),
    };
    rules
        .add_rule(PathBeneath::new(place, rights))
        .map_err(io::Error::other)
}

fn enforce(rules: RulesetCreated) -> io::Result<()> {
    rules.restrict_self().map(drop).map_err(io::Error::other)
}

/// No file is written, made, removed or executed; where a root is given, none
/// outside of it is read.
pub(super) fn read_only(root: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let reading = AccessFs::ReadFile | AccessFs::ReadDir;
    let rules = match root {
        None => forbid(AccessFs::from_all(NEWEST) & !reading)?,
        Some(root) => allow(forbid(AccessFs::from_all(NEWEST))?, root, reading)?,
    };
    enforce(rules)
}

/// No file is opened.
pub(super) fn nothing() -> io::Result<()> {
    enforce(forbid(AccessFs::from_all(NEWEST))?)
}

/// Where programs have their libraries, and what the loader looks at besides.
const LOADERS: [&str; 8] = [
    "/usr",
    "/lib",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/dev/null",
    // libfuse asks how much one request may carry.
    "/proc/sys/fs",
    "/sys/devices/system/cpu",
];

/// The program can be loaded and reads its image; nothing is written.
pub(super) fn program(
    program: &Path,
    library: Option<&Path>,
    image: BorrowedFd<'_>,
) -> io::Result<()> {
    let loading = AccessFs::from_read(NEWEST);
    let mut rules = forbid(AccessFs::from_all(NEWEST))?;
    // A program outside of /usr has its libraries beside it: /opt/x/bin, /opt/x/lib.
    let program = std::fs::canonicalize(program)?;
    let prefix = program.parent().and_then(Path::parent);
    let own = prefix.filter(|prefix| prefix.parent().is_some());
    let places = LOADERS.iter().map(Path::new).chain(own).chain(library);
    for place in places.chain([program.as_path()]) {
        if let Ok(place) = PathFd::new(place) {
            rules = allow(rules, place, loading)?;
        }
    }
    // A server without the library opens it anew through /proc.
    enforce(allow(rules, image, AccessFs::ReadFile.into())?)
}
