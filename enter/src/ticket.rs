//! The ticket: which namespaces a user may enter, in root's own hand.
//!
//! A user can start `oarlock-enter` from a prolog of his own, with any arguments. What
//! makes a ticket one is nothing that a user can make: a memory file that belongs to
//! root, whose mode is [`MODE`], and that is sealed against every change.

/// The first bytes.
pub const MAGIC: [u8; 8] = *b"OARTICK1";

/// The file's mode: no other memory file of Oarlock's has it.
pub const MODE: u32 = 0o400;

/// `F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE`, fcntl(2).
pub const SEALS: i32 = 0xf;

/// The most namespaces of one container: one of each kind.
pub const MOST: usize = 8;

const HEADER: usize = 16;
const EACH: usize = 24;

/// The longest ticket, in bytes.
pub const LONGEST: usize = HEADER + MOST * EACH;

/// One namespace, as the kernel names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Namespace {
    /// `CLONE_NEWNS` or another of its kind, setns(2).
    pub kind: u32,
    /// `st_dev` of its file, stat(2).
    pub device: u64,
    /// `st_ino` of its file.
    pub inode: u64,
}

/// Who may enter what, in which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// The real user id of who may.
    pub uid: u32,
    list: [Namespace; MOST],
    count: usize,
}

impl Ticket {
    /// A ticket; `None` where there are none, or too many namespaces.
    #[must_use]
    pub fn new(uid: u32, namespaces: &[Namespace]) -> Option<Self> {
        let mut list = [Namespace::default(); MOST];
        if namespaces.is_empty() {
            return None;
        }
        list.get_mut(..namespaces.len())?
            .copy_from_slice(namespaces);
        Some(Self {
            uid,
            list,
            count: namespaces.len(),
        })
    }

    /// The namespaces, in the order of entry.
    #[must_use]
    pub fn namespaces(&self) -> &[Namespace] {
        self.list.get(..self.count).unwrap_or_default()
    }

    /// As bytes, and how many of them count.
    #[must_use]
    pub fn encode(&self) -> ([u8; LONGEST], usize) {
        let mut out = [0; LONGEST];
        let mut have = 0;
        let mut put = |bytes: &[u8]| {
            if let Some(place) = out.get_mut(have..have + bytes.len()) {
                place.copy_from_slice(bytes);
                have += bytes.len();
            }
        };
        put(&MAGIC);
        put(&self.uid.to_le_bytes());
        put(&u32::try_from(self.count).unwrap_or(0).to_le_bytes());
        for one in self.namespaces() {
            put(&u64::from(one.kind).to_le_bytes());
            put(&one.device.to_le_bytes());
            put(&one.inode.to_le_bytes());
        }
        (out, have)
    }

    /// Reads what [`Self::encode`] wrote, and nothing else.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(&MAGIC)?;
        let (uid, rest) = rest.split_first_chunk::<4>()?;
        let (count, mut rest) = rest.split_first_chunk::<4>()?;
        let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
        if count == 0 || count > MOST || rest.len() != count * EACH {
            return None;
        }
        let mut list = [Namespace::default(); MOST];
        for place in list.get_mut(..count)? {
            let (kind, after) = rest.split_first_chunk::<8>()?;
            let (device, after) = after.split_first_chunk::<8>()?;
            let (inode, after) = after.split_first_chunk::<8>()?;
            rest = after;
            *place = Namespace {
                kind: u32::try_from(u64::from_le_bytes(*kind)).ok()?,
                device: u64::from_le_bytes(*device),
                inode: u64::from_le_bytes(*inode),
            };
        }
        Some(Self {
            uid: u32::from_le_bytes(*uid),
            list,
            count,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(inode: u64) -> Namespace {
        Namespace {
            kind: 0x2_0000,
            device: 4,
            inode,
        }
    }

    #[test]
    fn a_ticket_round_trips() {
        for list in [
            &[mount(1)][..],
            &[mount(1), mount(u64::MAX)],
            &[mount(7); MOST],
        ] {
            let ticket = Ticket::new(1000, list).unwrap();
            let (bytes, length) = ticket.encode();
            let read = Ticket::decode(&bytes[..length]).unwrap();
            assert_eq!(read, ticket);
            assert_eq!(read.namespaces(), list);
        }
    }

    #[test]
    fn what_is_cut_longer_or_empty_is_no_ticket() {
        let (bytes, length) = Ticket::new(1000, &[mount(1)]).unwrap().encode();
        for cut in 0..length {
            assert_eq!(Ticket::decode(&bytes[..cut]), None, "{cut}");
        }
        assert_eq!(Ticket::decode(&bytes[..=length]), None);
        let mut none = bytes;
        none[12] = 0;
        assert_eq!(Ticket::decode(&none[..16]), None);
        let mut many = bytes;
        many[12] = 9;
        assert_eq!(Ticket::decode(&many), None);
        assert_eq!(Ticket::new(0, &[]), None);
        assert_eq!(Ticket::new(0, &[mount(1); MOST + 1]), None);
    }
}
