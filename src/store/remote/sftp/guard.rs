//! What the other side says, before the protocol's library reads it: packets of a bounded length
//! that are whole, and texts that are UTF-8.
//!
//! The library trusts its server: it reserves what a count says, and one name that is no UTF-8 ends
//! its connection. Here a packet with a nonsensical length or count is an error, and a name that is
//! no UTF-8 becomes one with a control character in it, which no list shows.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, ReadBuf};

/// No packet is longer, in bytes. OpenSSH's own bound is a quarter of it.
const LONGEST_PACKET: usize = 1 << 20;

const STATUS: u8 = 101;
const DATA: u8 = 103;
const NAME: u8 = 104;

/// The length of a packet's length and type.
const HEADER: usize = 5;

/// When the other side was last heard of.
#[derive(Debug)]
pub struct LastHeard {
    base: Instant,
    milliseconds: AtomicU64,
}

impl LastHeard {
    /// Heard of now.
    pub fn new() -> LastHeard {
        LastHeard {
            base: Instant::now(),
            milliseconds: AtomicU64::new(0),
        }
    }

    /// The moment.
    pub fn at(&self) -> Instant {
        self.base + Duration::from_millis(self.milliseconds.load(Ordering::Relaxed))
    }

    fn now(&self) {
        let elapsed = u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.milliseconds.store(elapsed, Ordering::Relaxed);
    }
}

/// Which part of a packet comes next.
#[derive(Debug)]
enum Part {
    Header { bytes: [u8; HEADER], length: usize },
    Whole { packet: Vec<u8>, length: usize },
    Data { left: usize },
}

impl Part {
    fn new() -> Part {
        Part::Header {
            bytes: [0; HEADER],
            length: 0,
        }
    }
}

/// The other side's packets; see the head of this file.
#[derive(Debug)]
pub struct PacketGuard<R> {
    inner: R,
    heard: Arc<LastHeard>,
    part: Part,
    /// What can be handed on, and how much of it was.
    ready: Vec<u8>,
    handed_on: usize,
}

impl<R> PacketGuard<R> {
    /// The packets that come from `inner`.
    pub fn new(inner: R, heard: Arc<LastHeard>) -> PacketGuard<R> {
        PacketGuard {
            inner,
            heard,
            part: Part::new(),
            ready: Vec::new(),
            handed_on: 0,
        }
    }
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Reads into `bytes`; 0 is the end.
fn poll_some<R: AsyncRead + Unpin>(
    inner: &mut R,
    heard: &LastHeard,
    cx: &mut Context<'_>,
    bytes: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(bytes);
    ready!(Pin::new(inner).poll_read(cx, &mut buffer))?;
    heard.now();
    Poll::Ready(Ok(buffer.filled().len()))
}

impl<R: AsyncRead + Unpin> AsyncRead for PacketGuard<R> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if out.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            let waiting = &this.ready[this.handed_on..];
            if !waiting.is_empty() {
                let count = waiting.len().min(out.remaining());
                out.put_slice(&waiting[..count]);
                this.handed_on += count;
                return Poll::Ready(Ok(()));
            }
            match &mut this.part {
                Part::Header { bytes, length } => {
                    let rest = &mut bytes[*length..];
                    let count = ready!(poll_some(&mut this.inner, &this.heard, cx, rest))?;
                    if count == 0 && *length == 0 {
                        return Poll::Ready(Ok(()));
                    }
                    must_go_on(count)?;
                    *length += count;
                    if *length == HEADER {
                        let bytes = *bytes;
                        this.begin_packet(bytes)?;
                    }
                }
                Part::Whole { packet, length } => {
                    if *length < packet.len() {
                        let rest = &mut packet[*length..];
                        let count = ready!(poll_some(&mut this.inner, &this.heard, cx, rest))?;
                        must_go_on(count)?;
                        *length += count;
                    }
                    if *length == packet.len() {
                        this.ready = sanitized(packet)?;
                        this.handed_on = 0;
                        this.part = Part::new();
                    }
                }
                Part::Data { left: 0 } => this.part = Part::new(),
                Part::Data { left } => {
                    let wanted = (*left).min(out.remaining());
                    let room = out.initialize_unfilled_to(wanted);
                    let count = ready!(poll_some(&mut this.inner, &this.heard, cx, room))?;
                    must_go_on(count)?;
                    out.advance(count);
                    *left -= count;
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

fn must_go_on(count: usize) -> io::Result<()> {
    match count {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

impl<R> PacketGuard<R> {
    fn begin_packet(&mut self, header: [u8; HEADER]) -> io::Result<()> {
        let [a, b, c, d, kind] = header;
        // The type counts, too.
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let least = if kind == DATA { 9 } else { 5 };
        if !(least..=LONGEST_PACKET).contains(&length) {
            return Err(damaged(
                "what came is not SFTP (does a login script there print something?)",
            ));
        }
        self.ready.clear();
        self.handed_on = 0;
        if kind == DATA {
            self.ready.extend_from_slice(&header);
            self.part = Part::Data { left: length - 1 };
        } else {
            let mut packet = vec![0; 4 + length];
            packet[..HEADER].copy_from_slice(&header);
            self.part = Part::Whole {
                packet,
                length: HEADER,
            };
        }
        Ok(())
    }
}

/// A packet whose texts are UTF-8 and whose counts are true.
fn sanitized(packet: &[u8]) -> io::Result<Vec<u8>> {
    let mut fields = Fields { rest: packet };
    let mut out = Vec::with_capacity(packet.len() + 8);
    out.extend_from_slice(fields.bytes(HEADER)?);
    match packet[4] {
        STATUS => {
            out.extend_from_slice(fields.bytes(8)?);
            // Old servers leave both texts out.
            let message = fields.string().unwrap_or_default();
            put_string(&mut out, String::from_utf8_lossy(message).as_bytes());
            put_string(&mut out, b"");
        }
        NAME => {
            out.extend_from_slice(fields.bytes(4)?);
            let count = fields.number()?;
            out.extend_from_slice(&count.to_be_bytes());
            for _ in 0..count {
                let name = fields.string()?;
                if std::str::from_utf8(name).is_ok() {
                    put_string(&mut out, name);
                } else {
                    put_string(&mut out, b"\x01");
                }
                fields.string()?;
                put_string(&mut out, b"");
                let before = fields.rest;
                fields.attributes()?;
                out.extend_from_slice(&before[..before.len() - fields.rest.len()]);
            }
        }
        _ => out.extend_from_slice(fields.rest),
    }
    let length = u32::try_from(out.len() - 4).map_err(|_| damaged("a packet is too long"))?;
    out[..4].copy_from_slice(&length.to_be_bytes());
    Ok(out)
}

fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    // A packet, and so each part of it, is shorter than 2^32 bytes.
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// What of a packet was not read yet.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn bytes(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let (bytes, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or_else(|| damaged("a packet ends before its parts do"))?;
        self.rest = rest;
        Ok(bytes)
    }

    fn number(&mut self) -> io::Result<u32> {
        let bytes = self.bytes(4)?;
        Ok(bytes
            .iter()
            .fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    fn string(&mut self) -> io::Result<&'a [u8]> {
        let length = self.number()?;
        self.bytes(length as usize)
    }

    fn attributes(&mut self) -> io::Result<()> {
        let flags = self.number()?;
        for (flag, length) in [(0x1, 8), (0x2, 8), (0x4, 4), (0x8, 8)] {
            if flags & flag != 0 {
                self.bytes(length)?;
            }
        }
        if flags & 0x8000_0000 != 0 {
            let count = self.number()?;
            for _ in 0..count {
                self.string()?;
                self.string()?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut packet = (body.len() as u32 + 1).to_be_bytes().to_vec();
        packet.push(kind);
        packet.extend_from_slice(body);
        packet
    }

    fn name_body(names: &[&[u8]], count: u32) -> Vec<u8> {
        let mut body = vec![0, 0, 0, 7];
        body.extend_from_slice(&count.to_be_bytes());
        for name in names {
            put_string(&mut body, name);
            put_string(&mut body, b"-rw------- longname");
            // Its size.
            body.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9]);
        }
        body
    }

    fn read_all(mut bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut guard = PacketGuard::new(&mut bytes, Arc::new(LastHeard::new()));
        let mut all = Vec::new();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        loop {
            let mut block = [0; 7];
            let mut out = ReadBuf::new(&mut block);
            match Pin::new(&mut guard).poll_read(&mut cx, &mut out) {
                Poll::Ready(Ok(())) if out.filled().is_empty() => return Ok(all),
                Poll::Ready(Ok(())) => all.extend_from_slice(out.filled()),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => panic!("a slice is never pending"),
            }
        }
    }

    #[test]
    fn whole_packets_go_through() {
        let data = packet(DATA, b"\0\0\0\x01\0\0\0\x0bhello world");
        let status = packet(STATUS, b"\0\0\0\x01\0\0\0\0\0\0\0\x02ok\0\0\0\0");
        let names = packet(NAME, &name_body(&[b"a"], 1));
        let read = read_all(&[data.clone(), status.clone(), data.clone()].concat()).unwrap();
        assert_eq!(read, [data.clone(), status, data].concat());
        assert!(
            read_all(&names)
                .unwrap()
                .windows(5)
                .any(|part| part == b"\0\0\0\x01a")
        );
    }

    #[test]
    fn texts_become_utf8() {
        let short = packet(STATUS, b"\0\0\0\x01\0\0\0\x02");
        let whole = packet(STATUS, b"\0\0\0\x01\0\0\0\x02\0\0\0\0\0\0\0\0");
        assert_eq!(read_all(&short).unwrap(), whole);
        let read = read_all(&packet(NAME, &name_body(&[b"\xff\xfe"], 1))).unwrap();
        assert!(std::str::from_utf8(&read[13..]).is_ok());
        assert!(read.contains(&1));
    }

    #[test]
    fn nonsense_is_an_error() {
        let data = packet(DATA, b"\0\0\0\x01\0\0\0\x01x");
        for bytes in [
            &b"Welcome to this server"[..],
            &[0, 0, 0, 4, STATUS, 0, 0, 0],
            &[0, 0, 0, 8, DATA, 0, 0, 0, 0, 0, 0, 0],
            &[0xff; 9],
            &data[..data.len() - 1],
            &packet(NAME, &name_body(&[b"a"], u32::MAX)),
            &packet(NAME, &name_body(&[b"a"], 2)),
        ] {
            assert!(read_all(bytes).is_err(), "{bytes:?}");
        }
    }
}
