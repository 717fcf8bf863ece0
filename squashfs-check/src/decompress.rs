//! The decompressors, each with a bound on what it may give.
//!
//! Never more output than the caller's buffer, and never a panic out of a
//! decompressor: those are other people's code on hostile bytes.

use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};

use lzma_rust2::XzReader;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::{
    TINFL_FLAG_COMPUTE_ADLER32, TINFL_FLAG_PARSE_ZLIB_HEADER,
    TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
};
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use crate::error::{Damage, Malformed};

/// The length of a full metadata block in bytes.
pub(crate) const METADATA: usize = 8192;

/// A compression that can be validated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    Gzip,
    Xz,
    Lz4,
    Zstd,
}

impl Codec {
    /// The compression that a superblock's number stands for.
    pub(crate) fn from_id(id: u16) -> Result<Self, Malformed> {
        let name = match id {
            1 => return Ok(Self::Gzip),
            2 => "lzma",
            3 => "lzo",
            4 => return Ok(Self::Xz),
            5 => return Ok(Self::Lz4),
            6 => return Ok(Self::Zstd),
            _ => "of unknown number",
        };
        Err(Malformed::Compression { name })
    }
}

/// A decompressor and what it keeps from block to block.
pub(crate) struct Decoder {
    codec: Codec,
    /// The largest block, in bytes. As in the kernel no dictionary and no
    /// window is larger.
    window: u32,
    inflate: Box<DecompressorOxide>,
    zstd: FrameDecoder,
}

impl Decoder {
    pub(crate) fn new(codec: Codec, block_size: u32) -> Self {
        Self {
            codec,
            window: block_size.max(8192),
            inflate: Box::default(),
            zstd: FrameDecoder::new(),
        }
    }

    /// Decompresses `packed` into `out` and says how many bytes came.
    pub(crate) fn decode(&mut self, packed: &[u8], out: &mut [u8]) -> Result<usize, Damage> {
        // The crates report errors and are fuzzed, but an index out of range in
        // one of them must be a refusal and not the end of the process. What it
        // leaves half-done is thrown away.
        let result = catch_unwind(AssertUnwindSafe(|| match self.codec {
            Codec::Gzip => inflate(&mut self.inflate, packed, out),
            Codec::Xz => unxz(packed, out, self.window),
            Codec::Lz4 => unlz4(packed, out),
            Codec::Zstd => unzstd(&mut self.zstd, packed, out, self.window),
        }));
        result.unwrap_or_else(|_| {
            *self.inflate = DecompressorOxide::default();
            self.zstd = FrameDecoder::new();
            Err(Damage::Corrupt)
        })
    }
}

fn inflate(state: &mut DecompressorOxide, packed: &[u8], out: &mut [u8]) -> Result<usize, Damage> {
    state.init();
    let flags = TINFL_FLAG_PARSE_ZLIB_HEADER
        | TINFL_FLAG_COMPUTE_ADLER32
        | TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let (status, taken, given) = decompress(state, packed, out, 0, flags);
    match status {
        TINFLStatus::Done if taken == packed.len() => Ok(given),
        TINFLStatus::Done => Err(Damage::Trailing),
        TINFLStatus::HasMoreOutput => Err(Damage::TooLong),
        _ => Err(Damage::Corrupt),
    }
}

fn unxz(mut packed: &[u8], out: &mut [u8], window: u32) -> Result<usize, Damage> {
    // The dictionary, and what the decoder wants beside it.
    let limit = window / 1024 + 128;
    let mut reader = XzReader::new_mem_limit(&mut packed, false, limit);
    let given = fill(&mut reader, out)?;
    if given == out.len() {
        ended(&mut reader)?;
    }
    drop(reader);
    if packed.is_empty() {
        Ok(given)
    } else {
        Err(Damage::Trailing)
    }
}

fn unlz4(packed: &[u8], out: &mut [u8]) -> Result<usize, Damage> {
    lz4_flex::block::decompress_into(packed, out).map_err(|error| match error {
        lz4_flex::block::DecompressError::OutputTooSmall { .. } => Damage::TooLong,
        _ => Damage::Corrupt,
    })
}

fn unzstd(
    decoder: &mut FrameDecoder,
    mut packed: &[u8],
    out: &mut [u8],
    window: u32,
) -> Result<usize, Damage> {
    decoder.set_max_window_size(u64::from(window));
    decoder.reset(&mut packed).map_err(|_| Damage::Corrupt)?;
    let mut given = 0;
    loop {
        // One block gives at most 128 KiB, so little more than that is held
        // beside the window.
        decoder
            .decode_blocks(&mut packed, BlockDecodingStrategy::UptoBlocks(1))
            .map_err(|_| Damage::Corrupt)?;
        let room = out.get_mut(given..).unwrap_or_default();
        given += fill(decoder, room)?;
        if decoder.can_collect() != 0 {
            return Err(Damage::TooLong);
        }
        if decoder.is_finished() {
            break;
        }
    }
    if packed.is_empty() {
        Ok(given)
    } else {
        Err(Damage::Trailing)
    }
}

/// Reads until `out` is full or nothing comes any more. Never asks for 0 bytes:
/// the xz reader takes what it then gives for the end of its block.
fn fill(reader: &mut impl Read, out: &mut [u8]) -> Result<usize, Damage> {
    let mut given = 0;
    while let Some(room) = out.get_mut(given..).filter(|room| !room.is_empty()) {
        match reader.read(room) {
            Ok(0) => break,
            Ok(more) => given += more,
            Err(_) => return Err(Damage::Corrupt),
        }
    }
    Ok(given)
}

/// Demands that a reader has nothing more; its checksum is read by this.
fn ended(reader: &mut impl Read) -> Result<(), Damage> {
    match reader.read(&mut [0]) {
        Ok(0) => Ok(()),
        Ok(_) => Err(Damage::TooLong),
        Err(_) => Err(Damage::Corrupt),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use lzma_rust2::{XzOptions, XzWriter};

    use super::*;

    fn decode(codec: Codec, packed: &[u8], room: usize) -> Result<usize, Damage> {
        Decoder::new(codec, 4096).decode(packed, &mut vec![0; room])
    }

    /// `length` zeros with a dictionary of so many bytes.
    fn xz(length: usize, dictionary: u32) -> Vec<u8> {
        let mut options = XzOptions::with_preset(1);
        options.lzma_options.dict_size = dictionary;
        let mut writer = XzWriter::new(Vec::new(), options).expect("a writer");
        writer.write_all(&vec![0; length]).expect("zeros");
        writer.finish().expect("an end")
    }

    /// A frame of one block that says "`length` times this byte".
    fn zstd(length: u32) -> Vec<u8> {
        let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x20];
        // One segment, whose length has a byte; so the window is as small.
        frame.push(u8::try_from(length.min(255)).expect("a byte"));
        let header = length << 3 | 2 | 1;
        frame.extend(&header.to_le_bytes()[..3]);
        frame.push(7);
        frame
    }

    /// A frame with a window of `1 << log` bytes and a block of two bytes.
    fn zstd_window(log: u8) -> Vec<u8> {
        vec![0x28, 0xb5, 0x2f, 0xfd, 0, (log - 10) << 3, 17, 0, 0, 1, 2]
    }

    /// One literal, then a match of `15 + 255 * many + 4` bytes, then a literal.
    fn lz4(many: usize) -> Vec<u8> {
        let mut block = vec![0x1f, 7, 1, 0];
        block.extend(vec![255; many]);
        block.extend([0, 0x50, 1, 2, 3, 4, 5]);
        block
    }

    #[test]
    fn what_fits_is_given_and_more_is_refused() {
        for (codec, packed, length) in [
            (Codec::Xz, xz(4096, 8192), 4096),
            (Codec::Zstd, zstd(200), 200),
            (Codec::Lz4, lz4(4), 1 + 15 + 4 * 255 + 4 + 5),
        ] {
            assert_eq!(decode(codec, &packed, length), Ok(length), "{codec:?}");
            assert_eq!(decode(codec, &packed, 8192), Ok(length), "{codec:?}");
            for room in [0, 1, length - 1] {
                let result = decode(codec, &packed, room);
                assert_eq!(result, Err(Damage::TooLong), "{codec:?} in {room}");
            }
        }
        let bomb = xz(64 << 20, 8192);
        assert!(bomb.len() < 64 << 10);
        assert_eq!(decode(Codec::Xz, &bomb, 8192), Err(Damage::TooLong));
        assert_eq!(
            decode(Codec::Lz4, &lz4(1 << 16), 8192),
            Err(Damage::TooLong)
        );
    }

    #[test]
    fn bytes_after_the_end_and_ends_too_early() {
        for (codec, packed) in [(Codec::Xz, xz(4096, 8192)), (Codec::Zstd, zstd(200))] {
            let more = [&packed[..], &[0]].concat();
            assert_eq!(decode(codec, &more, 8192), Err(Damage::Trailing));
            let twice = [&packed[..], &packed].concat();
            assert_eq!(decode(codec, &twice, 8192), Err(Damage::Trailing));
            for length in 0..packed.len() {
                let result = decode(codec, &packed[..length], 8192);
                assert_eq!(result, Err(Damage::Corrupt), "{codec:?} of {length}");
            }
        }
        assert_eq!(decode(Codec::Lz4, &[], 8192), Err(Damage::Corrupt));
    }

    #[test]
    fn a_decompressor_takes_no_more_memory_than_blocks_need() {
        // Dictionary and window are allocated before a byte comes out.
        assert_eq!(
            decode(Codec::Xz, &xz(100, 1 << 20), 8192),
            Err(Damage::Corrupt)
        );
        assert_eq!(decode(Codec::Zstd, &zstd_window(13), 8192), Ok(2));
        for log in [14, 27, 31, 41] {
            let result = decode(Codec::Zstd, &zstd_window(log), 8192);
            assert_eq!(result, Err(Damage::Corrupt), "window {log}");
        }
    }
}
