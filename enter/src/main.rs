//! `oarlock-enter TICKET,ORDER,NAMESPACE[,NAMESPACE...] PROGRAM [ARGUMENT...]`: one
//! rank's way into its container, after Slurm's prologs have run on the host.
//!
//! The file has capabilities that only a process can redeem to which slurmstepd has
//! given them as inheritable; anybody else starts a program without rights. It does
//! this and nothing else, in this order: checks root's ticket, enters the namespaces
//! that are in it, empties all five sets of capabilities and sets `no_new_privs`.
//! Then, as the user and no more, it goes to the working directory, sets the
//! environment, and becomes the program, which is found as Slurm finds it, but in the
//! container.
//!
//! It must never read the environment, a path of the user's or the order before its
//! capabilities are gone, must never write or start anything with them, and goes on
//! after nothing that failed. There is no C library in it: nothing else does either.

#![no_std]
#![no_main]

mod freestanding;
mod process;
mod sys;

use core::ffi::CStr;

use oarlock_enter::lookup::{self, Name};
use oarlock_enter::order::{self, Kind, Records};
use oarlock_enter::ticket::{self, Ticket};

use process::{Arguments, Environment};
use sys::{Errno, Fd};

/// The exit code of a rank that did not enter, as where it enters in the plugin.
const NOT_ENTERED: i32 = 1;
/// A program that cannot be executed, as of a shell.
const CANNOT_EXECUTE: i32 = 126;
/// A program that is not there, as of a shell.
const NO_PROGRAM: i32 = 127;

/// Longest path, with its NUL, limits.h.
const PATH_MAX: usize = 4096;

/// Does all; what it returns ends the process.
fn run(arguments: &mut Arguments) -> i32 {
    let mut places = [0; ticket::MOST + 2];
    let numbers = arguments
        .get(1)
        .and_then(|text| lookup::descriptors(text.to_bytes(), &mut places))
        .filter(|numbers| numbers.len() > 2);
    let (Some([file, order, namespaces @ ..]), Some(program)) = (numbers, arguments.get(2)) else {
        let _ = sys::drop_all();
        sys::say(b"oarlock-enter: Oarlock's plugin starts it; it is of no use by hand\n");
        return NOT_ENTERED;
    };
    if let Err((what, errno)) = enter(*file, namespaces) {
        // Not even a word is written with a capability: the user has chosen where to.
        let _ = sys::drop_all();
        match errno {
            Some(errno) => tell(&[what, b": ", errno.text()]),
            None => tell(&[what]),
        }
        return NOT_ENTERED;
    }
    // From here on a user without any capability, and no way back.
    let mapped = sys::map(*order);
    for fd in numbers.into_iter().flatten() {
        sys::close(*fd);
    }
    let Ok(order) = mapped else {
        tell(&[b"reading what to do in the container failed"]);
        return NOT_ENTERED;
    };
    let Some(mut environment) = Environment::new(arguments, Records::of(order).count()) else {
        tell(&[b"no memory for the environment"]);
        return NOT_ENTERED;
    };
    match follow(order, &mut environment) {
        Ok(()) => execute(program, order, arguments, &environment),
        Err(code) => code,
    }
}

/// What failed, and what the kernel said where it was asked.
type Refusal = (&'static [u8], Option<Errno>);

/// Enters what the ticket names, and gives up every capability.
fn enter(file: Fd, namespaces: &[Fd]) -> Result<(), Refusal> {
    let refused = |what: &'static [u8]| (what, None);
    let ticket = read_ticket(file).ok_or(refused(b"entering: this is no ticket of root's"))?;
    if ticket.uid != sys::own_uid() {
        return Err(refused(b"entering: the ticket is another user's"));
    }
    let named = ticket.namespaces();
    if named.len() != namespaces.len() {
        return Err(refused(b"entering: the ticket names other namespaces"));
    }
    let looking = |errno| (&b"entering: looking at a namespace"[..], Some(errno));
    for (fd, named) in namespaces.iter().zip(named) {
        let state = sys::state(*fd).map_err(looking)?;
        let kind = sys::namespace_kind(*fd).map_err(looking)?;
        if (kind, state.device, state.inode) != (named.kind, named.device, named.inode) {
            return Err(refused(b"entering: the ticket names another namespace"));
        }
    }
    for (fd, named) in namespaces.iter().zip(named) {
        sys::enter(*fd, named.kind).map_err(|errno| {
            let what = &b"entering the container; has oarlock-enter its file capabilities?"[..];
            (what, Some(errno))
        })?;
    }
    sys::drop_all().map_err(|errno| (&b"dropping capabilities"[..], Some(errno)))
}

/// A memory file that only root can have made; see [`ticket`].
fn read_ticket(file: Fd) -> Option<Ticket> {
    let state = sys::state(file).ok()?;
    if state.uid != 0 || !state.is_file || state.permissions != ticket::MODE {
        return None;
    }
    if sys::seals(file).ok()? & ticket::SEALS != ticket::SEALS {
        return None;
    }
    let mut bytes = [0; ticket::LONGEST + 1];
    let have = sys::read_start(file, &mut bytes).ok()?;
    Ticket::decode(bytes.get(..have)?)
}

/// Sets the working directory and the environment; `Err` is the exit code.
fn follow(order: &'static [u8], environment: &mut Environment) -> Result<(), i32> {
    let mut there = false;
    // Whether the next change's variable is as it was before the prologs.
    let mut as_it_was = false;
    for record in Records::of(order) {
        let text = record.text;
        match record.kind {
            Kind::Asked => {
                if let Err(errno) = sys::change_directory(text) {
                    tell(&[
                        b"working directory ",
                        text.to_bytes(),
                        b": ",
                        errno.text(),
                        b"; it must be a directory inside the container",
                    ]);
                    return Err(NOT_ENTERED);
                }
                there = true;
            }
            Kind::Directory => there = there || sys::change_directory(text).is_ok(),
            Kind::Was => {
                as_it_was = environment.entry(order::name(text.to_bytes())) == Some(text);
            }
            Kind::WasAbsent => as_it_was = environment.entry(text.to_bytes()).is_none(),
            Kind::Set if as_it_was => environment.set(text),
            Kind::Unset if as_it_was => environment.unset(text.to_bytes()),
            Kind::SetToHere if as_it_was => {
                let mut here = [0; PATH_MAX];
                if let (Ok(here), Some(place)) =
                    (sys::working_directory(&mut here), sys::pages(PATH_MAX * 2))
                    && let Some(entry) =
                        lookup::put(place, &[text.to_bytes(), b"=", here.to_bytes()])
                {
                    environment.set(entry);
                }
            }
            Kind::Set | Kind::Unset | Kind::SetToHere | Kind::Suffix => {}
        }
    }
    if there {
        return Ok(());
    }
    tell(&[b"entering /: ", Errno::ENOENT.text()]);
    Err(NOT_ENTERED)
}

/// Becomes the program, or tells why not.
fn execute(
    program: &CStr,
    order: &[u8],
    arguments: &mut Arguments,
    environment: &Environment,
) -> i32 {
    let mut place = [0; PATH_MAX];
    let mut whole = [0; PATH_MAX];
    let program = program.to_bytes();
    let suffix = Records::of(order)
        .find(|record| record.kind == Kind::Suffix && program.ends_with(b"/"))
        .map_or(&b""[..], |record| record.text.to_bytes());
    let path = find(program, environment, &mut place)
        .and_then(|path| lookup::put(&mut whole, &[path.to_bytes(), suffix]));
    let Some(path) = path else {
        tell(&[program, b": the path is too long"]);
        return CANNOT_EXECUTE;
    };
    let errno = arguments.execute_from(2, path, environment);
    let shown = path.to_bytes();
    if errno != Errno::ENOENT {
        tell(&[
            shown,
            b": cannot be executed in the container: ",
            errno.text(),
        ]);
        CANNOT_EXECUTE
    } else if sys::is_no_directory(path) {
        tell(&[
            shown,
            b": its interpreter or loader is not in the container",
        ]);
        CANNOT_EXECUTE
    } else {
        tell(&[shown, b": no such file in the container"]);
        NO_PROGRAM
    }
}

/// The program's path, as Slurm would build it.
fn find<'a>(
    program: &[u8],
    environment: &Environment,
    place: &'a mut [u8; PATH_MAX],
) -> Option<&'a CStr> {
    let mut other = [0; PATH_MAX];
    match lookup::kind(program) {
        Name::Absolute => {}
        Name::Dotted => {
            if let Ok(here) = sys::working_directory(&mut other) {
                return lookup::put(place, &[here.to_bytes(), b"/", program]);
            }
        }
        Name::Searched => {
            let path = environment
                .entry(b"PATH")
                .and_then(|entry| entry.to_bytes().get(b"PATH=".len()..));
            for directory in lookup::directories(path.unwrap_or_default()) {
                let parts = [directory, b"/", program];
                if lookup::put(&mut other, &parts).is_some_and(sys::is_no_directory) {
                    return lookup::put(place, &parts);
                }
            }
        }
    }
    lookup::put(place, &[program])
}

/// One line for the user, with the node's name, by one write(2).
fn tell(parts: &[&[u8]]) {
    let mut name = [0; sys::NAME];
    let node = sys::node(&mut name);
    let mut line = [0; PATH_MAX + 512];
    let mut have = 0;
    let whole = [&b"oarlock: "[..], node, b": "];
    for part in whole.iter().chain(parts) {
        for byte in *part {
            // Room for the end of the line; no byte that steers a terminal.
            if let Some(place) = line.get_mut(have).filter(|_| have < PATH_MAX + 511) {
                *place = if byte.is_ascii_control() { b'?' } else { *byte };
                have += 1;
            }
        }
    }
    if let Some(place) = line.get_mut(have) {
        *place = b'\n';
    }
    sys::say(line.get(..=have).unwrap_or_default());
}
