//! Names and values of extended attributes.
//!
//! Never more of a value than its length: what is in it is the business of who
//! reads it, and file capabilities count for nothing on a nosuid mount.

use crate::ReadAt;
use crate::error::{Malformed, XattrFault};
use crate::fields::Fields;
use crate::image::Image;
use crate::metadata::Cursor;

/// The longest value, `XATTR_SIZE_MAX`.
const VALUE_MAX: u32 = 65536;
/// The longest name with its prefix, `XATTR_NAME_MAX`.
const NAME_MAX: u16 = 255;
/// The bit of a type that says: in the place of the value stands a reference.
const FAR: u16 = 0x100;
/// `user.`, `trusted.` and `security.` in bytes, by type.
const PREFIXES: [u16; 3] = [5, 8, 9];

/// Reads values that stand alone until `start`, in decompressed bytes.
pub(crate) fn values_before<R: ReadAt + ?Sized>(
    image: &mut Image<'_, R>,
    values: &mut Cursor<'_>,
    start: u64,
    index: u32,
) -> Result<(), Malformed> {
    while values.place() < start {
        value(image, values, index)?;
    }
    if values.place() == start {
        return Ok(());
    }
    Err(Malformed::Xattr {
        at: values.at(),
        index,
        fault: XattrFault::Place,
    })
}

/// Reads a set of `count` attributes. `far` looks at values that stand
/// elsewhere.
pub(crate) fn set<R: ReadAt + ?Sized>(
    image: &mut Image<'_, R>,
    values: &mut Cursor<'_>,
    far: &mut Cursor<'_>,
    index: u32,
    count: u32,
) -> Result<(), Malformed> {
    let start = values.place();
    for _ in 0..count {
        let at = values.at();
        let refuse = |fault| Malformed::Xattr { at, index, fault };
        let bytes: [u8; 4] = values.array(image)?;
        let mut fields = Fields::new(&bytes);
        let (kind, size) = (fields.u16(), fields.u16());
        let Some(prefix) = PREFIXES.get(usize::from(kind & !FAR)) else {
            return Err(refuse(XattrFault::Type { kind }));
        };
        let mut name = [0; NAME_MAX as usize];
        let name = name.get_mut(..usize::from(size)).unwrap_or_default();
        if name.is_empty() || size > NAME_MAX - prefix {
            return Err(refuse(XattrFault::Name { size }));
        }
        values.read(image, name)?;
        if name.contains(&0) {
            return Err(refuse(XattrFault::Name { size }));
        }
        if kind & FAR == 0 {
            value(image, values, index)?;
            continue;
        }
        let size = u32::from_le_bytes(values.array(image)?);
        if size != 8 {
            return Err(refuse(XattrFault::Value { size }));
        }
        let reference = u64::from_le_bytes(values.array(image)?);
        // Such values are written before the set that refers to them.
        let place = values.chain().locate(reference);
        let Some(place) = place.filter(|place| *place < start) else {
            return Err(refuse(XattrFault::Reference { reference }));
        };
        far.seek(place);
        value(image, far, index)?;
        if far.place() > start {
            return Err(refuse(XattrFault::Reference { reference }));
        }
    }
    Ok(())
}

/// Passes over a value and its length.
fn value<R: ReadAt + ?Sized>(
    image: &mut Image<'_, R>,
    cursor: &mut Cursor<'_>,
    index: u32,
) -> Result<(), Malformed> {
    let at = cursor.at();
    let size = u32::from_le_bytes(cursor.array(image)?);
    if size > VALUE_MAX {
        let fault = XattrFault::Value { size };
        return Err(Malformed::Xattr { at, index, fault });
    }
    cursor.skip(u64::from(size))
}
