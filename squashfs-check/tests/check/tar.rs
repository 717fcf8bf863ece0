//! Writes tar archives: device nodes, hard links and extended attributes need
//! neither root nor a file system that has them.

/// An archive in the making.
pub(crate) struct Tar(Vec<u8>);

impl Tar {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    /// A header, with the member's type as tar has it.
    fn header(&mut self, name: &str, kind: u8, target: &str, size: usize) {
        let mut header = [0_u8; 512];
        let mut put = |at: usize, text: &str| {
            header[at..at + text.len()].copy_from_slice(text.as_bytes());
        };
        put(0, name);
        put(100, "0000755");
        put(108, "0001750");
        put(116, "0000144");
        put(124, &format!("{size:011o}"));
        put(136, "00000000000");
        put(148, "        ");
        put(157, target);
        put(257, "ustar");
        put(263, "00");
        put(329, "0000001");
        put(337, "0000003");
        header[156] = kind;
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend(header);
    }

    fn body(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }

    /// Extended attributes of the next member.
    pub(crate) fn xattrs(&mut self, pairs: &[(&str, &[u8])]) -> &mut Self {
        let mut records = Vec::new();
        for (name, value) in pairs {
            let rest = 1 + "SCHILY.xattr.".len() + name.len() + 1 + value.len() + 1;
            let digits = (1..9).find(|digits| (rest + digits).to_string().len() == *digits);
            let length = rest + digits.expect("a length has fewer than nine digits");
            records.extend(format!("{length} SCHILY.xattr.{name}=").as_bytes());
            records.extend(*value);
            records.push(b'\n');
        }
        self.header("pax", b'x', "", records.len());
        self.body(&records);
        self
    }

    pub(crate) fn file(&mut self, name: &str, content: &[u8]) -> &mut Self {
        self.header(name, b'0', "", content.len());
        self.body(content);
        self
    }

    /// Anything without content: `1` hard link, `2` symbolic link, `3` and `4`
    /// device, `5` directory, `6` pipe.
    pub(crate) fn node(&mut self, name: &str, kind: u8, target: &str) -> &mut Self {
        self.header(name, kind, target, 0);
        self
    }

    pub(crate) fn finish(&self) -> Vec<u8> {
        let mut bytes = self.0.clone();
        bytes.resize(bytes.len() + 1024, 0);
        bytes
    }
}
