//! What a rank needs to get into its container, as descriptors and a few bytes:
//! made by `oarlock-prepare`, handed on to every rank, used by [`crate::enter`].

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::sys::namespaces::{Kind, Namespace};

/// Who the rank is inside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ids {
    /// Who it is on the host.
    #[default]
    Host,
    /// Root, with subordinate ids beside it: files can be given to them.
    Root,
    /// Root and nobody else: a change of ids is answered as if it were done.
    RootAlone,
}

/// The way into a container: the same for every rank of a node and step.
#[derive(Debug)]
pub struct Way {
    /// In the order of joining. One is of mounts.
    namespaces: Vec<Namespace>,
    /// Who the rank is inside.
    pub ids: Ids,
    /// Where there is a namespace of process ids: its first process lives as long as
    /// one copy of this descriptor does.
    pub life: Option<OwnedFd>,
    /// `cgroup.procs` of the step's own control groups, opened for writing by root.
    pub groups: Vec<OwnedFd>,
}

/// The byte of [`Way::life`].
const LIFE: u8 = b'L';
/// That of a control group.
const GROUP: u8 = b'g';

impl Way {
    /// Namespaces in any order.
    #[must_use]
    pub fn new(mut namespaces: Vec<Namespace>, ids: Ids, life: Option<OwnedFd>) -> Self {
        namespaces.sort_by_key(|namespace| namespace.kind);
        Self {
            namespaces,
            ids,
            life,
            groups: Vec::new(),
        }
    }

    /// Puts the process into the step's control groups, and lets go of them: whoever
    /// holds such a descriptor can move any process there. The first thing that a rank
    /// does, while nothing of the user's runs in it.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn join_groups(&mut self) -> io::Result<()> {
        if self.groups.is_empty() {
            return Ok(());
        }
        // Linux before 6.2 gives who comes into a cpuset all of its CPUs, and Slurm has
        // bound the task already.
        let bound = rustix::thread::sched_getaffinity(None);
        for processes in self.groups.drain(..) {
            // The one who writes.
            rustix::io::write(&processes, b"0")?;
        }
        if let Ok(bound) = bound
            && rustix::thread::sched_getaffinity(None) != Ok(bound)
        {
            // Fails where none of these CPUs is the step's: then the cpuset's stand.
            let _ = rustix::thread::sched_setaffinity(None, &bound);
        }
        Ok(())
    }

    /// In the order of joining.
    #[must_use]
    pub fn namespaces(&self) -> &[Namespace] {
        &self.namespaces
    }

    /// The one of a kind, where the container has one of its own.
    #[must_use]
    pub fn of(&self, kind: Kind) -> Option<&Namespace> {
        self.namespaces.iter().find(|own| own.kind == kind)
    }

    /// Other descriptors of the same, but for the control groups.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            groups: Vec::new(),
            namespaces: self
                .namespaces
                .iter()
                .map(Namespace::try_clone)
                .collect::<io::Result<_>>()?,
            ids: self.ids,
            life: self.life.as_ref().map(OwnedFd::try_clone).transpose()?,
        })
    }

    /// One byte for the ids, then one for each descriptor of [`Self::descriptors`].
    #[must_use]
    pub fn letters(&self) -> Vec<u8> {
        let ids = match self.ids {
            Ids::Host => b'h',
            Ids::Root => b'r',
            Ids::RootAlone => b'a',
        };
        std::iter::once(ids)
            .chain(self.namespaces.iter().map(|own| own.kind.letter()))
            .chain(self.life.iter().map(|_| LIFE))
            .chain(self.groups.iter().map(|_| GROUP))
            .collect()
    }

    /// What [`Self::letters`] says each of.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.namespaces
            .iter()
            .map(|own| own.fd.as_fd())
            .chain(self.life.iter().map(AsFd::as_fd))
            .chain(self.groups.iter().map(AsFd::as_fd))
    }

    /// Puts the two together again; `None` where they do not fit, or none is of
    /// mounts.
    #[must_use]
    pub fn from_parts(letters: &[u8], fds: impl IntoIterator<Item = OwnedFd>) -> Option<Self> {
        let (ids, letters) = letters.split_first()?;
        let ids = match ids {
            b'h' => Ids::Host,
            b'r' => Ids::Root,
            b'a' => Ids::RootAlone,
            _ => return None,
        };
        let mut fds = fds.into_iter();
        let mut namespaces = Vec::new();
        let mut life = None;
        let mut groups = Vec::new();
        for letter in letters {
            let fd = fds.next()?;
            match (*letter, Kind::of_letter(*letter)) {
                (LIFE, _) => life = Some(fd),
                (GROUP, _) => groups.push(fd),
                (_, Some(kind)) => namespaces.push(Namespace { kind, fd }),
                (_, None) => return None,
            }
        }
        let mut way = Self::new(namespaces, ids, life);
        way.groups = groups;
        way.of(Kind::Mount)?;
        Some(way)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(way: &Way) -> Vec<Kind> {
        way.namespaces().iter().map(|own| own.kind).collect()
    }

    #[test]
    fn a_way_round_trips() {
        let own = |kind| Namespace::own(kind).unwrap();
        let life = own(Kind::Net).fd;
        let mut way = Way::new(
            vec![own(Kind::User), own(Kind::Mount), own(Kind::Pid)],
            Ids::Root,
            Some(life),
        );
        let group = || std::fs::File::create("/dev/null").unwrap().into();
        way.groups = vec![group(), group()];
        assert_eq!(kinds(&way), [Kind::Pid, Kind::Mount, Kind::User]);
        let fds: Vec<OwnedFd> = way
            .descriptors()
            .map(|fd| fd.try_clone_to_owned().unwrap())
            .collect();
        let mut again = Way::from_parts(&way.letters(), fds).unwrap();
        assert_eq!(kinds(&again), kinds(&way));
        assert_eq!(again.ids, Ids::Root);
        assert!(again.life.is_some());
        assert_eq!(again.groups.len(), 2);
        again.join_groups().unwrap();
        assert!(again.groups.is_empty());
    }

    #[test]
    fn what_does_not_fit_is_no_way() {
        let mount = || Namespace::own(Kind::Mount).unwrap().fd;
        assert!(Way::from_parts(b"hm", [mount()]).is_some());
        for letters in [b"".as_slice(), b"h", b"hn", b"hmn", b"xm", b"hx"] {
            assert!(Way::from_parts(letters, [mount()]).is_none(), "{letters:?}");
        }
    }
}
