//! Whether the system's clock is kept right, adjtimex(2); asked, never set.

use std::io;

/// Whether something keeps the clock near the right time, as the kernel was told by
/// its NTP client.
///
/// # Errors
/// What the kernel said: `EPERM` where this process may not ask.
pub fn is_synchronised() -> io::Result<bool> {
    // SAFETY: `struct timex` is numbers; all zeros are a value of it, with `modes` 0.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: with `modes` 0 the kernel only fills the struct.
    let clock = unsafe { libc::adjtimex(&raw mut state) };
    if clock < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(state.status & libc::STA_UNSYNC == 0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_clock_is_asked() {
        // Whatever it is here: it does not change by being asked.
        let first = super::is_synchronised().map_err(|error| error.kind());
        let second = super::is_synchronised().map_err(|error| error.kind());
        assert_eq!(first, second);
    }
}
