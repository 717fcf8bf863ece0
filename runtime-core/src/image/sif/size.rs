//! Byte counts as people read them.
//!
//! Only for messages and listings; nothing may compute with what comes out of here.

/// A byte count with a binary unit: `512 bytes`, `40 MiB`, `1.5 GiB`. One decimal below 10 of a unit.
#[must_use]
pub fn human(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} {}", if bytes == 1 { "byte" } else { "bytes" });
    }
    // In tenths of a unit, rounded, so that no float decides what is printed.
    let mut unit = 1024_u128;
    let mut name = "KiB";
    for candidate in UNITS {
        name = candidate;
        if tenths(bytes, unit) < 10_240 {
            break;
        }
        unit *= 1024;
    }
    let tenths = tenths(bytes, unit);
    let (whole, part) = (tenths / 10, tenths % 10);
    if part == 0 || whole >= 10 {
        format!("{} {name}", if part >= 5 { whole + 1 } else { whole })
    } else {
        format!("{whole}.{part} {name}")
    }
}

fn tenths(bytes: u64, unit: u128) -> u128 {
    (u128::from(bytes) * 10 + unit / 2) / unit
}

/// What a truncated file says of itself: both figures, in bytes where rounding would make them look equal.
pub(in crate::image) fn shortfall(promised: u64, actual: u64) -> String {
    let (wanted, found) = (human(promised), human(actual));
    if wanted == found {
        format!("header promises {promised} bytes, file has {actual}")
    } else {
        format!("header promises {wanted}, file has {found}")
    }
}

#[cfg(test)]
mod tests {
    use super::{human, shortfall};

    #[test]
    fn sizes_read_as_people_say_them() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (1023, "1023 bytes"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (40 << 20, "40 MiB"),
            (812 << 20, "812 MiB"),
            ((1 << 20) - 1, "1 MiB"),
            (10 << 30, "10 GiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(human(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn a_shortfall_never_shows_two_equal_figures() {
        assert_eq!(
            shortfall(812 << 20, 40 << 20),
            "header promises 812 MiB, file has 40 MiB"
        );
        assert_eq!(
            shortfall(100 << 20, (100 << 20) - 1),
            "header promises 104857600 bytes, file has 104857599"
        );
    }
}
