//! Protobuf read in place: fields as numbers and pieces of the body, and the byte where something is wrong.
//! <https://protobuf.dev/programming-guides/encoding/>

use std::fmt;

/// What is wrong with a message, and at which byte of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) at: usize,
    pub(super) reason: &'static str,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it is damaged at byte {}: {}", self.at, self.reason)
    }
}

/// Bytes of the longest variable-length integer.
const VARINT_BYTES_MAX: usize = 10;

/// A message, or a text, or packed numbers: what stands behind a length.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    bytes: &'a [u8],
    /// The next byte to read.
    next: usize,
    /// Where in the body the first byte stands.
    start: usize,
}

/// One field of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field<'a> {
    pub(super) number: u32,
    value: Value<'a>,
    at: usize,
}

#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32,
    Bytes(Message<'a>),
}

impl<'a> Message<'a> {
    /// The message that a body is.
    pub(super) const fn new(body: &'a [u8]) -> Self {
        Self {
            bytes: body,
            next: 0,
            start: 0,
        }
    }

    /// The content, whatever was read of it.
    pub(super) const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The bytes of all fields of a number that it begins with, and the message behind them.
    #[inline]
    pub(super) fn split_leading(mut self, number: u32) -> Result<(&'a [u8], Self), Damage> {
        let begin = self.next;
        loop {
            let before = self;
            if self.field()?.is_none_or(|field| field.number != number) {
                return Ok((&self.bytes[begin..before.next], before));
            }
        }
    }

    /// The next field, or none at the end.
    #[inline]
    pub(super) fn field(&mut self) -> Result<Option<Field<'a>>, Damage> {
        if self.next >= self.bytes.len() {
            return Ok(None);
        }
        let at = self.next;
        let key = self.varint()?;
        let Some(number) = u32::try_from(key).ok().map(|key| key >> 3) else {
            return Err(self.damage(at, "a field's number is too large"));
        };
        if number == 0 {
            return Err(self.damage(at, "a field has the number 0"));
        }
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(self.fixed64()?),
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            5 => {
                self.take(4)?;
                Value::Fixed32
            }
            _ => return Err(self.damage(at, "a field has a wire type that is not in use")),
        };
        Ok(Some(Field {
            number,
            value,
            at: self.start + at,
        }))
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Damage> {
        let at = self.next;
        // Nearly all keys and lengths are one byte.
        if let Some(byte) = self.bytes.get(at).filter(|byte| **byte < 0x80) {
            self.next += 1;
            return Ok(u64::from(*byte));
        }
        let mut number = 0;
        for (i, byte) in self.bytes[at..].iter().take(VARINT_BYTES_MAX).enumerate() {
            if i == VARINT_BYTES_MAX - 1 && *byte > 1 {
                break;
            }
            number |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                self.next = at + i + 1;
                return Ok(number);
            }
        }
        Err(self.damage(at, "a number does not end"))
    }

    fn fixed64(&mut self) -> Result<u64, Damage> {
        let piece = self.take(8)?;
        let bytes = piece.bytes.try_into().unwrap_or_default();
        Ok(u64::from_le_bytes(bytes))
    }

    #[inline]
    fn take(&mut self, length: u64) -> Result<Message<'a>, Damage> {
        let at = self.next;
        let rest = &self.bytes[at..];
        let Some((taken, _)) = usize::try_from(length)
            .ok()
            .and_then(|length| rest.split_at_checked(length))
        else {
            return Err(self.damage(at, "a field is longer than what is left of its message"));
        };
        self.next += taken.len();
        Ok(Message {
            bytes: taken,
            next: 0,
            start: self.start + at,
        })
    }

    const fn damage(&self, at: usize, reason: &'static str) -> Damage {
        Damage {
            at: self.start + at,
            reason,
        }
    }
}

impl<'a> Field<'a> {
    /// A message, text or bytes.
    pub(super) fn message(&self) -> Result<Message<'a>, Damage> {
        match self.value {
            Value::Bytes(message) => Ok(message),
            _ => Err(self.damage("a number stands where a message or text is expected")),
        }
    }

    /// An unsigned number, or an enumeration or truth.
    pub(super) fn varint(&self) -> Result<u64, Damage> {
        match self.value {
            Value::Varint(number) => Ok(number),
            _ => Err(self.damage("a field is no number of variable length")),
        }
    }

    /// A number of type `sint32` or `sint64`.
    pub(super) fn zigzag(&self) -> Result<i64, Damage> {
        self.varint().map(unzigzag)
    }

    /// A number of type `fixed64`, `sfixed64`, or the bits of a double.
    pub(super) fn fixed64(&self) -> Result<u64, Damage> {
        match self.value {
            Value::Fixed64(number) => Ok(number),
            _ => Err(self.damage("a field is no number of 64 bits")),
        }
    }

    /// A double.
    pub(super) fn double(&self) -> Result<f64, Damage> {
        self.fixed64().map(f64::from_bits)
    }

    /// Numbers of a repeated field, packed or alone.
    pub(super) fn varints(&self, mut each: impl FnMut(u64)) -> Result<(), Damage> {
        if let Value::Bytes(mut packed) = self.value {
            while packed.next < packed.bytes.len() {
                each(packed.varint()?);
            }
            return Ok(());
        }
        each(self.varint()?);
        Ok(())
    }

    /// Numbers of 64 bits of a repeated field, packed or alone.
    pub(super) fn fixed64s(&self, mut each: impl FnMut(u64)) -> Result<(), Damage> {
        if let Value::Bytes(mut packed) = self.value {
            while packed.next < packed.bytes.len() {
                each(packed.fixed64()?);
            }
            return Ok(());
        }
        each(self.fixed64()?);
        Ok(())
    }

    /// Says that the field as such is wrong.
    pub(super) const fn damage(&self, reason: &'static str) -> Damage {
        Damage {
            at: self.at,
            reason,
        }
    }
}

/// Undoes the folding of signed numbers into unsigned ones.
pub(super) const fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_are_read_in_place() {
        let body = b"\x08\x96\x01\x12\x03abc\x19\0\0\0\0\0\0\xf0\x3f\x25\0\0\0\0\x2a\x02\x01\x02";
        let mut message = Message::new(body);
        let mut next = || message.field().unwrap();
        let field = next().unwrap();
        assert_eq!((field.number, field.varint().unwrap()), (1, 150));
        assert_eq!(next().unwrap().message().unwrap().bytes(), b"abc");
        assert_eq!(next().unwrap().double().unwrap(), 1.0);
        let skipped = next().unwrap();
        assert_eq!(skipped.number, 4);
        assert!(skipped.varint().is_err());
        let mut packed = Vec::new();
        next().unwrap().varints(|n| packed.push(n)).unwrap();
        assert_eq!(packed, [1, 2]);
        assert!(next().is_none());
        assert_eq!([0, 1, 2, u64::MAX].map(unzigzag), [0, -1, 1, i64::MIN]);
    }

    #[test]
    fn damage_is_found_where_it_is() {
        // A message in a message whose second field is too long.
        let mut outer = Message::new(b"\x0a\x04\x08\x01\x12\x09");
        let mut inner = outer.field().unwrap().unwrap().message().unwrap();
        inner.field().unwrap();
        let damage = inner.field().unwrap_err();
        assert_eq!(damage.at, 6);
        for (body, at) in [
            (&b"\x00"[..], 0),
            (b"\x08", 1),
            (b"\x0b\x01", 0),
            (b"\x0a\x05ab", 2),
            (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 1),
            (b"\xff\xff\xff\xff\xff\x01\x01", 0),
            (b"\x09abc", 1),
        ] {
            let damage = Message::new(body).field().unwrap_err();
            assert_eq!(damage.at, at, "{body:?}: {damage:?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_end(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut message = Message::new(&body);
            let mut fields = 0;
            while let Ok(Some(field)) = message.field() {
                fields += 1;
                let _ = field.varints(|_| {});
                let _ = field.fixed64s(|_| {});
            }
            prop_assert!(fields <= body.len());
        }
    }
}
