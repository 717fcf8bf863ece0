//! A file that is read in few and large pieces, whoever asks for how little, and never as a whole.
//!
//! A parser that follows offsets asks for some bytes here and some there. Each piece is a call of the kernel's, and
//! of a compressed file system a block that is unpacked anew.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};

/// Bytes of a piece: half a block of squashfs.
const BLOCK: u64 = 64 << 10;

/// Pieces of a file, read once each.
pub(super) struct Blocks<S> {
    source: S,
    at: u64,
    blocks: BTreeMap<u64, Vec<u8>>,
    /// Bytes that may still be read.
    left: u64,
}

impl<S: Read + Seek> Blocks<S> {
    /// Of `source`, of which no more than `budget` bytes are read.
    pub(super) fn new(source: S, budget: u64) -> Self {
        Self {
            source,
            at: 0,
            blocks: BTreeMap::new(),
            left: budget,
        }
    }

    /// What is there from `self.at` to the end of its block.
    fn here(&mut self) -> io::Result<&[u8]> {
        let begin = self.at - self.at % BLOCK;
        if !self.blocks.contains_key(&begin) {
            self.left = self
                .left
                .checked_sub(BLOCK)
                .ok_or(ErrorKind::FileTooLarge)?;
            self.source.seek(SeekFrom::Start(begin))?;
            let mut block = Vec::new();
            self.source.by_ref().take(BLOCK).read_to_end(&mut block)?;
            self.blocks.insert(begin, block);
        }
        let within = usize::try_from(self.at - begin).unwrap_or(usize::MAX);
        let block = self.blocks.get(&begin).map(Vec::as_slice);
        Ok(block
            .and_then(|block| block.get(within..))
            .unwrap_or_default())
    }
}

impl<S: Read + Seek> Read for Blocks<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.here()?.read(buf)?;
        self.at += u64::try_from(read).unwrap_or(0);
        Ok(read)
    }
}

impl<S: Read + Seek> Seek for Blocks<S> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = match to {
            SeekFrom::Start(at) => at,
            SeekFrom::End(_) => self.source.seek(to)?,
            SeekFrom::Current(by) => self
                .at
                .checked_add_signed(by)
                .ok_or(ErrorKind::InvalidInput)?,
        };
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// Counts what is read of it.
    struct Counted(Cursor<Vec<u8>>, usize);

    impl Read for Counted {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let read = self.0.read(buf)?;
            self.1 += read;
            Ok(read)
        }
    }

    impl Seek for Counted {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.0.seek(to)
        }
    }

    #[test]
    fn pieces_are_read_once_and_all_is_as_in_the_file() {
        let whole: Vec<u8> = (0..=250).cycle().take(200_000).collect();
        let mut blocks = Blocks::new(Counted(Cursor::new(whole.clone()), 0), 1 << 20);
        let mut buf = vec![0; 100];
        for at in [0, 10, 65_530, 131_071, 0, 199_900] {
            blocks.seek(SeekFrom::Start(at)).unwrap();
            blocks.read_exact(&mut buf).unwrap();
            let at = usize::try_from(at).unwrap();
            assert_eq!(buf, whole[at..at + 100], "{at}");
        }
        assert_eq!(blocks.source.1, whole.len());
        assert_eq!(blocks.seek(SeekFrom::End(0)).unwrap(), 200_000);
        assert_eq!(blocks.read(&mut buf).unwrap(), 0);
        blocks.seek(SeekFrom::Start(1 << 40)).unwrap();
        assert_eq!(blocks.read(&mut buf).unwrap(), 0);
    }

    #[test]
    fn no_more_is_read_than_may_be() {
        let mut blocks = Blocks::new(Cursor::new(vec![0; 300_000]), 2 * BLOCK);
        let mut all = Vec::new();
        let error = blocks.read_to_end(&mut all).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        assert_eq!(all.len(), 2 * 65_536);
    }
}
