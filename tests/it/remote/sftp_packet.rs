//! As much of SFTP's packets as a stub needs that looks at them one by one.

use std::io::Read;

// What is asked.
pub const INIT: u8 = 1;
const OPEN: u8 = 3;
const CLOSE: u8 = 4;
pub const READ: u8 = 5;
const WRITE: u8 = 6;
const LSTAT: u8 = 7;
const FSTAT: u8 = 8;
const SETSTAT: u8 = 9;
const FSETSTAT: u8 = 10;
const OPENDIR: u8 = 11;
pub const READDIR: u8 = 12;
const REMOVE: u8 = 13;
const MKDIR: u8 = 14;
const RMDIR: u8 = 15;
const STAT: u8 = 17;
const RENAME: u8 = 18;
const EXTENDED: u8 = 200;

// What is answered.
const VERSION: u8 = 2;
const STATUS: u8 = 101;
const DATA: u8 = 103;
const NAME: u8 = 104;

// What a status says.
pub const OK: u32 = 0;
pub const END: u32 = 1;
pub const NO_SUCH_FILE: u32 = 2;
pub const PERMISSION_DENIED: u32 = 3;
pub const FAILURE: u32 = 4;

/// Bytes before what is particular to a packet: its length, its kind and its number.
const HEAD: usize = 9;

/// A packet with its length.
#[derive(Debug, Clone)]
pub struct Packet(Vec<u8>);

impl Packet {
    /// Reads one; `None` where the stream ends.
    pub fn read(stream: &mut impl Read) -> Option<Packet> {
        let mut bytes = vec![0; 4];
        stream.read_exact(&mut bytes).ok()?;
        let length = number_at(&bytes, 0) as usize;
        assert!(length < 1 << 24, "that is no packet: {length} bytes");
        bytes.resize(4 + length, 0);
        stream.read_exact(&mut bytes[4..]).ok()?;
        Some(Packet(bytes))
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn kind(&self) -> u8 {
        self.0[4]
    }

    /// Its number, which its answer has, too. Those of the two that begin a connection have none.
    pub fn number(&self) -> u32 {
        match self.kind() {
            INIT | VERSION => u32::MAX,
            _ => number_at(&self.0, 5),
        }
    }

    /// The first half of it.
    pub fn cut(mut self) -> Packet {
        self.0.truncate(self.0.len() / 2);
        self
    }

    /// With another byte in the middle of what is particular to it.
    pub fn flipped(mut self) -> Packet {
        let middle = (HEAD + self.0.len()) / 2;
        if let Some(byte) = self.0.get_mut(middle) {
            *byte ^= 1;
        }
        self
    }

    /// A read's answer with half of its bytes.
    pub fn with_half_of_the_data(mut self) -> Packet {
        if self.kind() == DATA {
            let half = number_at(&self.0, HEAD) / 2;
            self.put_number(HEAD, half);
            self.0.truncate(HEAD + 4 + half as usize);
            self.mend_length();
        }
        self
    }

    /// A list without its last name.
    pub fn without_last_name(mut self) -> Packet {
        if self.kind() == NAME {
            let count = number_at(&self.0, HEAD);
            let mut end = HEAD + 4;
            for _ in 1..count {
                end = self.end_of_name(end);
            }
            self.put_number(HEAD, count.saturating_sub(1));
            self.0.truncate(end);
            self.mend_length();
        }
        self
    }

    /// Where the name ends that begins there: two texts, and what is known of the file.
    fn end_of_name(&self, begin: usize) -> usize {
        let end_of_text = |begin: usize| begin + 4 + number_at(&self.0, begin) as usize;
        let attributes = end_of_text(end_of_text(begin));
        let flags = number_at(&self.0, attributes);
        let lengths = [(1, 8), (2, 8), (4, 4), (8, 8)].iter();
        let known = lengths.filter(|(flag, _)| flags & flag != 0);
        attributes + 4 + known.map(|(_, length)| length).sum::<usize>()
    }

    fn put_number(&mut self, at: usize, number: u32) {
        self.0[at..at + 4].copy_from_slice(&number.to_be_bytes());
    }

    fn mend_length(&mut self) {
        let length = self.0.len() as u32 - 4;
        self.put_number(0, length);
    }

    /// For people: what is asked, and the text that comes first in it.
    pub fn line(&self) -> String {
        let name = match self.kind() {
            INIT => "init",
            OPEN => "open",
            CLOSE => "close",
            READ => "read",
            WRITE => "write",
            LSTAT => "lstat",
            FSTAT => "fstat",
            SETSTAT => "setstat",
            FSETSTAT => "fsetstat",
            OPENDIR => "opendir",
            READDIR => "readdir",
            REMOVE => "remove",
            MKDIR => "mkdir",
            RMDIR => "rmdir",
            STAT => "stat",
            RENAME => "rename",
            EXTENDED => "extended",
            _ => "another",
        };
        let rest = self.0.get(HEAD + 4..).unwrap_or_default();
        let text = rest.split(|byte| !byte.is_ascii_graphic()).next();
        let text = String::from_utf8_lossy(text.unwrap_or_default());
        format!("{name} {text}").trim_end().to_owned()
    }
}

fn number_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// Whether all that such a packet is ever answered is a status.
pub fn has_status_alone(kind: u8) -> bool {
    matches!(
        kind,
        CLOSE | WRITE | SETSTAT | FSETSTAT | REMOVE | MKDIR | RMDIR | RENAME | EXTENDED
    )
}

/// Whether such a packet asks for what is there.
pub fn is_question(kind: u8) -> bool {
    matches!(kind, OPEN | READ | LSTAT | FSTAT | OPENDIR | READDIR | STAT)
}

/// An answer that says how it went.
pub fn status(number: u32, code: u32) -> Packet {
    let mut bytes = vec![0, 0, 0, 0, STATUS];
    bytes.extend_from_slice(&number.to_be_bytes());
    bytes.extend_from_slice(&code.to_be_bytes());
    for text in ["the liar says so", "en"] {
        bytes.extend_from_slice(&(text.len() as u32).to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    let mut packet = Packet(bytes);
    packet.mend_length();
    packet
}
