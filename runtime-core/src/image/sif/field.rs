//! Little-endian numbers out of a byte slice.
//!
//! Both image formats are packed structures at fixed places. Nothing here may panic or index: a place outside
//! the slice is `None`, and the caller says what that means.

/// `N` bytes that start at `at`, or `None` where the slice ends before.
pub(in crate::image) fn bytes<const N: usize>(buf: &[u8], at: usize) -> Option<[u8; N]> {
    buf.get(at..)?.first_chunk::<N>().copied()
}

/// The unsigned 8-bit number at `at`.
pub(in crate::image) fn u8(buf: &[u8], at: usize) -> Option<u8> {
    buf.get(at).copied()
}

/// The unsigned 16-bit number at `at`.
pub(in crate::image) fn u16(buf: &[u8], at: usize) -> Option<u16> {
    bytes(buf, at).map(u16::from_le_bytes)
}

/// The unsigned 32-bit number at `at`.
pub(in crate::image) fn u32(buf: &[u8], at: usize) -> Option<u32> {
    bytes(buf, at).map(u32::from_le_bytes)
}

/// The signed 32-bit number at `at`.
pub(in crate::image) fn i32(buf: &[u8], at: usize) -> Option<i32> {
    bytes(buf, at).map(i32::from_le_bytes)
}

/// The unsigned 64-bit number at `at`.
pub(in crate::image) fn u64(buf: &[u8], at: usize) -> Option<u64> {
    bytes(buf, at).map(u64::from_le_bytes)
}

/// The signed 64-bit number at `at`.
pub(in crate::image) fn i64(buf: &[u8], at: usize) -> Option<i64> {
    bytes(buf, at).map(i64::from_le_bytes)
}

/// The text up to the first NUL; what is not UTF-8 is replaced, for names are shown and never opened.
pub(in crate::image) fn text(buf: &[u8]) -> String {
    let end = buf.iter().position(|byte| *byte == 0).unwrap_or(buf.len());
    String::from_utf8_lossy(buf.get(..end).unwrap_or(buf)).into_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_place_outside_the_slice_is_none() {
        let buf = [1, 2, 3, 4, 5];
        assert_eq!(super::u32(&buf, 1), Some(0x0504_0302));
        assert_eq!(super::u32(&buf, 2), None);
        assert_eq!(super::u8(&buf, 5), None);
        assert_eq!(super::u64(&buf, usize::MAX), None);
    }

    #[test]
    fn text_ends_at_the_first_nul() {
        assert_eq!(super::text(b"deffile\0junk"), "deffile");
        assert_eq!(super::text(b"full"), "full");
        assert_eq!(super::text(b""), "");
    }
}
