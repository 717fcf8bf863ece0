//! The fragment table: blocks that hold the ends of several files.
//!
//! Never trusts a fragment to be as long as its files say: each is decompressed
//! before any file is looked at, and its length kept.

use crate::ReadAt;
use crate::data::{Area, Word};
use crate::error::Malformed;
use crate::fields::Fields;
use crate::image::Image;
use crate::metadata::{Chain, Cursor};

/// Checks every fragment and gives their lengths in bytes.
pub(crate) fn check<R: ReadAt + ?Sized>(
    image: &mut Image<'_, R>,
    chain: &Chain,
    area: &Area,
) -> Result<Vec<u32>, Malformed> {
    let mut lengths = Vec::new();
    let mut out = vec![0; area.block_size as usize];
    let mut cursor = Cursor::new(chain);
    while !cursor.ended() {
        let at = cursor.at();
        let bytes: [u8; 16] = cursor.array(image)?;
        let mut fields = Fields::new(&bytes);
        let (start, raw) = (fields.u64(), fields.u32());
        let word = Word::parse(raw, area.block_size).filter(|word| word.stored > 0);
        let Some(word) = word.filter(|word| area.holds(start, word.stored)) else {
            return Err(Malformed::Fragment {
                at,
                start,
                word: raw,
            });
        };
        let length = if word.packed {
            let length = image.block(start, word.stored, true, &mut out)?;
            u32::try_from(length).unwrap_or(u32::MAX)
        } else {
            word.stored
        };
        lengths.push(length);
    }
    Ok(lengths)
}
