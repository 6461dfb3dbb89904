//! Elements of binary arrays: a type and a byte order, read into a number or a text.

use half::f16;

use crate::value::Value;

/// How one element of an array is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) kind: Kind,
    pub(crate) big_endian: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    U8,
    U16,
    U32,
    U64,
    I8,
    I16,
    I32,
    I64,
    F16,
    F32,
    F64,
    /// So many bytes of text, padded with zeros.
    Bytes(usize),
    /// So many UCS-4 code points, padded with zeros.
    Unicode(usize),
}

impl Element {
    /// Bytes of one element; `None` where a declared text length overflows.
    pub(crate) fn size(self) -> Option<usize> {
        match self.kind {
            Kind::Bool | Kind::U8 | Kind::I8 => Some(1),
            Kind::U16 | Kind::I16 | Kind::F16 => Some(2),
            Kind::U32 | Kind::I32 | Kind::F32 => Some(4),
            Kind::U64 | Kind::I64 | Kind::F64 => Some(8),
            Kind::Bytes(length) => Some(length),
            Kind::Unicode(length) => length.checked_mul(4),
        }
    }

    /// Reads an element from exactly its [`size`](Self::size) in bytes; text goes through `scratch`.
    /// `None` for text that is no Unicode.
    pub(crate) fn value<'s>(self, bytes: &[u8], scratch: &'s mut String) -> Option<Value<'s>> {
        Some(match self.kind {
            Kind::Bool => Value::Bool(bytes[0] != 0),
            Kind::U8 => Value::Unsigned(u64::from(bytes[0])),
            Kind::I8 => Value::Signed(i64::from(bytes[0] as i8)),
            Kind::U16 => Value::Unsigned(u64::from(u16::from_le_bytes(self.ordered(bytes)))),
            Kind::I16 => Value::Signed(i64::from(i16::from_le_bytes(self.ordered(bytes)))),
            Kind::F16 => Value::Float(f64::from(f16::from_le_bytes(self.ordered(bytes)))),
            Kind::U32 => Value::Unsigned(u64::from(u32::from_le_bytes(self.ordered(bytes)))),
            Kind::I32 => Value::Signed(i64::from(i32::from_le_bytes(self.ordered(bytes)))),
            Kind::F32 => Value::Single(f32::from_le_bytes(self.ordered(bytes))),
            Kind::U64 => Value::Unsigned(u64::from_le_bytes(self.ordered(bytes))),
            Kind::I64 => Value::Signed(i64::from_le_bytes(self.ordered(bytes))),
            Kind::F64 => Value::Float(f64::from_le_bytes(self.ordered(bytes))),
            Kind::Bytes(_) => {
                scratch.clear();
                scratch.push_str(str::from_utf8(bytes).ok()?.trim_end_matches('\0'));
                Value::Text(scratch)
            }
            Kind::Unicode(_) => {
                scratch.clear();
                for point in bytes.chunks_exact(4) {
                    scratch.push(char::from_u32(u32::from_le_bytes(self.ordered(point)))?);
                }
                scratch.truncate(scratch.trim_end_matches('\0').len());
                Value::Text(scratch)
            }
        })
    }

    fn ordered<const N: usize>(self, bytes: &[u8]) -> [u8; N] {
        let mut ordered = [0; N];
        ordered.copy_from_slice(bytes);
        if self.big_endian {
            ordered.reverse();
        }
        ordered
    }
}
