//! A passphrase: from the environment, or typed on the terminal without being shown.
//!
//! Never from an argument, which others could see, and never from standard input, which may be the image's.

use std::fs::File;
use std::io::{self, Read, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

/// The variable that holds it.
const VARIABLE: &str = "OARLOCK_KEY_PASSPHRASE";
/// Longest one that is typed, in bytes.
const MAX: usize = 4096;

/// The passphrase of the signing key.
///
/// # Errors
///
/// The kernel's, where there is no terminal; `Interrupted` for Control-C, `InvalidData` for what is not UTF-8.
pub(crate) fn ask() -> io::Result<Zeroizing<String>> {
    if let Some(value) = std::env::var_os(VARIABLE) {
        let value = value.into_string().map_err(|_| invalid())?;
        return Ok(Zeroizing::new(value));
    }
    let no_terminal = |error: io::Error| {
        let told = format!("{VARIABLE} is not set, and there is no terminal ({error})");
        io::Error::new(error.kind(), told)
    };
    let mut terminal = File::options()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .map_err(no_terminal)?;
    let silence = Silence::new(terminal.try_clone()?)?;
    terminal.write_all(b"Passphrase of the signing key: ")?;
    let typed = read(&mut terminal);
    drop(silence);
    terminal.write_all(b"\n")?;
    let typed = typed?;
    let text = std::str::from_utf8(&typed).map_err(|_| invalid())?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn invalid() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8")
}

/// A line, byte by byte, for the terminal does not edit it.
fn read(terminal: &mut impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut typed = Zeroizing::new(Vec::with_capacity(MAX));
    let mut byte = Zeroizing::new([0]);
    while terminal.read(&mut *byte)? == 1 {
        match byte[0] {
            b'\n' | b'\r' | 0x04 => break,
            // Control-C reaches us as a byte, so that the terminal is put right before the program ends.
            0x03 => return Err(io::ErrorKind::Interrupted.into()),
            0x08 | 0x7f => {
                // A whole character, of however many bytes.
                while typed.pop().is_some_and(|last| last & 0xc0 == 0x80) {}
            }
            0x15 => typed.clear(),
            other if typed.len() < MAX => typed.push(other),
            _ => return Err(invalid()),
        }
    }
    Ok(typed)
}

/// A terminal that shows nothing while this lives.
struct Silence {
    terminal: File,
    before: Termios,
}

impl Silence {
    fn new(terminal: File) -> io::Result<Self> {
        let before = tcgetattr(&terminal)?;
        let mut quiet = before.clone();
        quiet.local_modes &= !(LocalModes::ECHO | LocalModes::ISIG | LocalModes::ICANON);
        tcsetattr(&terminal, OptionalActions::Flush, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that is gone.
        let _ = tcsetattr(&self.terminal, OptionalActions::Flush, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    fn typed(bytes: &[u8]) -> Result<Vec<u8>, ErrorKind> {
        super::read(&mut &*bytes)
            .map(|line| line.to_vec())
            .map_err(|error| error.kind())
    }

    #[test]
    fn a_line_is_edited_as_a_terminal_would() {
        assert_eq!(typed(b"open sesame\nrest"), Ok(b"open sesame".to_vec()));
        assert_eq!(typed(b"opem\x7fn\r"), Ok(b"open".to_vec()));
        assert_eq!(typed("é\x7fe\n".as_bytes()), Ok(b"e".to_vec()));
        assert_eq!(typed(b"\x7f\x08x\n"), Ok(b"x".to_vec()));
        assert_eq!(typed(b"wrong\x15right\n"), Ok(b"right".to_vec()));
        assert_eq!(typed(b""), Ok(Vec::new()));
        assert_eq!(typed(b"open\x03"), Err(ErrorKind::Interrupted));
        assert_eq!(typed(&[b'a'; 5000]), Err(ErrorKind::InvalidData));
    }
}
