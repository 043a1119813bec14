//! WebSocket frames (RFC 6455), parsed as they pass: nothing is held but a copy of what may have to be read.
//!
//! No extension is negotiated, so a frame is what its head says, and the bytes pass
//! on as they came, masks and all.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::limits::{WEBSOCKET_BUFFER_KEPT_BYTES_MAX, WEBSOCKET_CONTROL_BYTES_MAX};

const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The head of a frame, at its longest.
const HEAD_BYTES: usize = 14;

/// The session was ended normally.
pub const NORMAL: u16 = 1000;
/// The sender of this close goes away.
pub const GOING_AWAY: u16 = 1001;
pub const PROTOCOL_ERROR: u16 = 1002;
/// Something was sent that is not allowed.
pub const POLICY: u16 = 1008;
pub const TOO_BIG: u16 = 1009;
pub const INTERNAL: u16 = 1011;

/// The side whose frames these are: a client masks each of its own, a server none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    Client,
    Server,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Binary,
}

/// What ended with the last byte that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    Message(Kind),
    Ping,
    Pong,
    /// With the code in it.
    Close(Option<u16>),
}

/// How far the bytes were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    pub used: usize,
    pub seen: Option<Seen>,
}

/// A violation, with the code to close with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Violation {
    pub code: u16,
    pub what: &'static str,
}

const fn wrong(what: &'static str) -> Violation {
    Violation { code: PROTOCOL_ERROR, what }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opcode {
    Continue,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

/// A frame whose head was read.
#[derive(Debug, Clone, Copy)]
struct Frame {
    opcode: Opcode,
    is_last: bool,
    left: u64,
    mask: [u8; 4],
    /// Bytes of its payload that were read.
    read: usize,
}

/// Reads one side's frames.
#[derive(Debug)]
pub struct Scanner {
    sender: Sender,
    /// A longer message is a violation.
    message_bytes_max: u64,
    /// How much of a text message is copied.
    kept_bytes_max: usize,
    head: [u8; HEAD_BYTES],
    head_length: usize,
    frame: Option<Frame>,
    /// The message that has started and not ended.
    message: Option<Kind>,
    message_bytes: u64,
    text: Vec<u8>,
    control: Vec<u8>,
    is_over: bool,
}

impl Scanner {
    pub const fn new(sender: Sender, message_bytes_max: u64, kept_bytes_max: usize) -> Self {
        Self {
            sender,
            message_bytes_max,
            kept_bytes_max,
            head: [0; HEAD_BYTES],
            head_length: 0,
            frame: None,
            message: None,
            message_bytes: 0,
            text: Vec::new(),
            control: Vec::new(),
            is_over: false,
        }
    }

    /// Reads up to the end of a message or of a control frame. Nothing may follow a close.
    ///
    /// # Errors
    /// It is not a frame, or one that is not allowed here.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Read, Violation> {
        let mut used = 0;
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            if self.is_over {
                return Err(wrong("it sends more after its close frame"));
            }
            if self.frame.is_none() {
                used += self.read_head(rest)?;
            } else {
                used += self.read_payload(rest);
            }
            if let Some(frame) = self.frame.filter(|frame| frame.left == 0) {
                self.frame = None;
                if let Some(seen) = self.finish_frame(frame)? {
                    return Ok(Read { used, seen: Some(seen) });
                }
            }
        }
        Ok(Read { used, seen: None })
    }

    /// The copy of the last text message, or of the current one: all of it, unless it is
    /// longer than the bound for copies.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Whether a message may be injected here.
    pub const fn is_between_messages(&self) -> bool {
        self.is_between_frames() && self.message.is_none()
    }

    /// Whether a control frame may be injected here.
    pub const fn is_between_frames(&self) -> bool {
        self.frame.is_none() && self.head_length == 0
    }

    /// Whether its sender has sent a close.
    pub const fn is_over(&self) -> bool {
        self.is_over
    }

    fn read_head(&mut self, bytes: &[u8]) -> Result<usize, Violation> {
        let mut used = 0;
        for byte in bytes {
            if let Some(slot) = self.head.get_mut(self.head_length) {
                *slot = *byte;
            }
            self.head_length += 1;
            used += 1;
            // Errors in the first two bytes are reported at once.
            if self.head_length >= 2 && self.head_length >= self.head_bytes()? {
                let frame = self.begin()?;
                self.head_length = 0;
                self.frame = Some(frame);
                break;
            }
        }
        Ok(used)
    }

    /// The length of the head, once its first two bytes have arrived.
    fn head_bytes(&self) -> Result<usize, Violation> {
        let [first, second, ..] = self.head;
        if first & 0x70 != 0 {
            return Err(wrong("it uses an extension that was not agreed on"));
        }
        let is_masked = second & 0x80 != 0;
        match (self.sender, is_masked) {
            (Sender::Client, false) => return Err(wrong("a client's frame is not masked")),
            (Sender::Server, true) => return Err(wrong("a server's frame is masked")),
            _ => {}
        }
        let more = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        Ok(2 + more + if is_masked { 4 } else { 0 })
    }

    fn begin(&mut self) -> Result<Frame, Violation> {
        let [first, second, a, b, c, d, e, f, g, h, i, j, k, l] = self.head;
        let (left, mask) = match second & 0x7f {
            126 => (u64::from(u16::from_be_bytes([a, b])), [c, d, e, f]),
            127 => (u64::from_be_bytes([a, b, c, d, e, f, g, h]), [i, j, k, l]),
            short => (u64::from(short), [a, b, c, d]),
        };
        let is_longer_than_need = match second & 0x7f {
            126 => left < 126,
            127 => left <= u64::from(u16::MAX) || left >> 63 != 0,
            _ => false,
        };
        if is_longer_than_need {
            return Err(wrong("its length is not in its shortest form"));
        }
        let mask = if second & 0x80 == 0 { [0; 4] } else { mask };
        let (opcode, is_last) = (opcode(first)?, first & 0x80 != 0);
        let is_control = matches!(opcode, Opcode::Close | Opcode::Ping | Opcode::Pong);
        if is_control {
            if !is_last || left > WEBSOCKET_CONTROL_BYTES_MAX {
                return Err(wrong("a control frame is cut in pieces, or too long"));
            }
            self.control.clear();
        } else {
            self.begin_piece(opcode, left)?;
        }
        Ok(Frame { opcode, is_last, left, mask, read: 0 })
    }

    fn begin_piece(&mut self, opcode: Opcode, length: u64) -> Result<(), Violation> {
        match (opcode, self.message) {
            (Opcode::Continue, None) => return Err(wrong("it continues a message that has not begun")),
            (Opcode::Continue, Some(_)) => {}
            (_, Some(_)) => return Err(wrong("a message begins within another")),
            (_, None) => {
                self.message = Some(if opcode == Opcode::Text { Kind::Text } else { Kind::Binary });
                self.message_bytes = 0;
                // One long message is not a reason to retain memory for the next.
                if self.text.capacity() > WEBSOCKET_BUFFER_KEPT_BYTES_MAX {
                    self.text = Vec::new();
                } else {
                    self.text.clear();
                }
            }
        }
        self.message_bytes = self.message_bytes.saturating_add(length);
        if self.message_bytes > self.message_bytes_max {
            Err(Violation { code: TOO_BIG, what: "a message is too long" })
        } else {
            Ok(())
        }
    }

    fn read_payload(&mut self, bytes: &[u8]) -> usize {
        let Some(frame) = &mut self.frame else { return 0 };
        let count = usize::try_from(frame.left).unwrap_or(usize::MAX).min(bytes.len());
        let taken = bytes.get(..count).unwrap_or_default();
        let is_control = matches!(frame.opcode, Opcode::Close | Opcode::Ping | Opcode::Pong);
        let kept = match (is_control, self.message) {
            (true, _) => Some((&mut self.control, usize::MAX)),
            (false, Some(Kind::Text)) => Some((&mut self.text, self.kept_bytes_max)),
            (false, _) => None,
        };
        if let Some((kept, most)) = kept {
            let (mask, from) = (frame.mask, frame.read);
            let room = most.saturating_sub(kept.len());
            let plain = taken.iter().zip(mask.iter().cycle().skip(from % 4)).map(|(byte, mask)| byte ^ mask);
            kept.extend(plain.take(room));
        }
        frame.read += count;
        frame.left -= count as u64;
        count
    }

    fn finish_frame(&mut self, frame: Frame) -> Result<Option<Seen>, Violation> {
        Ok(match frame.opcode {
            Opcode::Ping => Some(Seen::Ping),
            Opcode::Pong => Some(Seen::Pong),
            Opcode::Close => {
                let code = close_code(&self.control)?;
                self.is_over = true;
                Some(Seen::Close(code))
            }
            Opcode::Continue | Opcode::Text | Opcode::Binary if frame.is_last => {
                self.message.take().map(Seen::Message)
            }
            Opcode::Continue | Opcode::Text | Opcode::Binary => None,
        })
    }
}

const fn opcode(first: u8) -> Result<Opcode, Violation> {
    Ok(match first & 0x0f {
        0 => Opcode::Continue,
        1 => Opcode::Text,
        2 => Opcode::Binary,
        8 => Opcode::Close,
        9 => Opcode::Ping,
        10 => Opcode::Pong,
        _ => return Err(wrong("its kind is unknown")),
    })
}

fn close_code(payload: &[u8]) -> Result<Option<u16>, Violation> {
    match payload {
        [] => Ok(None),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            let may_be_sent = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
            if !may_be_sent || std::str::from_utf8(reason).is_err() {
                return Err(wrong("its close has a code that may not be sent, or a reason that isn't text"));
            }
            Ok(Some(code))
        }
        _ => Err(wrong("its close has half a code")),
    }
}

/// A whole text message, as a server sends it, or masked as a client does.
pub fn text_frame(text: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    frame(0x81, text, mask)
}

/// A close with its code and a reason, cut to fit.
pub fn close_frame(code: u16, reason: &str, mask: Option<[u8; 4]>) -> Vec<u8> {
    let cut = reason.floor_char_boundary(123);
    let payload = [&code.to_be_bytes(), reason.get(..cut).unwrap_or_default().as_bytes()].concat();
    frame(0x88, &payload, mask)
}

fn frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD_BYTES + payload.len());
    let masked = if mask.is_some() { 0x80 } else { 0 };
    bytes.push(first);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short), _) if short < 126 => bytes.push(masked | short),
        (_, Ok(length)) => {
            bytes.push(masked | 126);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            bytes.push(masked | 127);
            bytes.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    let mask = mask.inspect(|mask| bytes.extend_from_slice(mask)).unwrap_or_default();
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// A server's answer to the key of a handshake.
pub fn accept(key: &str) -> String {
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes()))
}

/// The key of a handshake, from sixteen unpredictable bytes.
pub fn key(random: [u8; 16]) -> String {
    STANDARD.encode(random)
}

/// Whether this can be a handshake's key.
pub fn is_key(key: &str) -> bool {
    STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16)
}

#[cfg(test)]
#[path = "websocket_tests.rs"]
mod tests;
