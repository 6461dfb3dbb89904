//! A first look at a Parquet footer (Thrift, compact protocol), before the parquet crate parses it.
//!
//! That crate allocates and recurses as the schema declares. Here the declared counts are compared with what
//! is there, so that a damaged footer is refused instead of exhausting memory or stack.
//! Source: parquet-format's `parquet.thrift`, Thrift's `thrift-compact-protocol.md`.

const MAGIC: &[u8; 4] = b"PAR1";
/// Length of the metadata and the magic.
pub(crate) const FOOTER_BYTES: usize = 8;
/// Bound on the metadata, beyond any table within [`Limits`](crate::Limits).
const METADATA_BYTES: usize = 64 << 20;
const ROW_GROUPS: usize = 1 << 16;
const DEPTH: usize = 64;

/// Length of the metadata that ends before the last [`FOOTER_BYTES`] bytes of a file.
pub(crate) fn metadata_length(footer: &[u8]) -> Result<usize, &'static str> {
    let (length, magic) = footer.split_first_chunk::<4>().ok_or("too short")?;
    if magic == b"PARE" {
        return Err("encrypted; write it without encryption");
    }
    if magic != MAGIC {
        return Err("it does not end as a Parquet file; it may be truncated");
    }
    let length = u32::from_le_bytes(*length) as usize;
    if length > METADATA_BYTES { Err("its metadata is too long") } else { Ok(length) }
}

/// Checks the counts of schema elements and row groups that `metadata` declares.
pub(crate) fn check(metadata: &[u8]) -> Result<(), &'static str> {
    const SCHEMA: i16 = 2;
    const GROUPS: i16 = 4;
    let mut walker = Walker { rest: metadata };
    walker.fields(|walker, id, kind| match (id, kind) {
        (SCHEMA, LIST) => walker.schema(),
        (GROUPS, LIST) => {
            let (kind, count) = walker.list()?;
            if count > ROW_GROUPS {
                return Err("too many row groups");
            }
            (0..count).try_for_each(|_| walker.skip(kind, DEPTH))
        }
        _ => walker.skip(kind, DEPTH),
    })
}

const TRUE: u8 = 1;
const FALSE: u8 = 2;
const BYTE: u8 = 3;
const I16: u8 = 4;
const I32: u8 = 5;
const I64: u8 = 6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const MAP: u8 = 11;
const STRUCT: u8 = 12;
const UUID: u8 = 13;

const TRUNCATED: &str = "its metadata is damaged";

struct Walker<'a> {
    rest: &'a [u8],
}

impl Walker<'_> {
    /// The schema is a tree in pre-order; every element declares how many children follow it.
    fn schema(&mut self) -> Result<(), &'static str> {
        const CHILDREN: i16 = 5;
        let (kind, count) = self.list()?;
        if kind != STRUCT || count > self.rest.len() {
            return Err(TRUNCATED);
        }
        let mut open: Vec<usize> = Vec::new();
        for index in 0..count {
            let mut children = 0;
            self.fields(|walker, id, kind| match (id, kind) {
                (CHILDREN, I32) => {
                    children = zigzag(walker.varint()?);
                    Ok(())
                }
                _ => walker.skip(kind, DEPTH),
            })?;
            let children = usize::try_from(children).map_err(|_| TRUNCATED)?;
            if children > count - index {
                return Err("its schema declares more columns than it has");
            }
            while open.last() == Some(&0) {
                open.pop();
            }
            if let Some(left) = open.last_mut() {
                *left -= 1;
            }
            if children > 0 {
                open.push(children);
            }
            if open.len() > DEPTH {
                return Err("its schema is nested too deep");
            }
        }
        Ok(())
    }

    /// Visits the fields of a struct with id and type.
    fn fields(
        &mut self,
        mut visit: impl FnMut(&mut Self, i16, u8) -> Result<(), &'static str>,
    ) -> Result<(), &'static str> {
        let mut id = 0_i16;
        loop {
            let header = self.byte()?;
            if header == 0 {
                return Ok(());
            }
            id = match header >> 4 {
                0 => zigzag(self.varint()?) as i16,
                delta => id.checked_add(i16::from(delta)).ok_or(TRUNCATED)?,
            };
            visit(self, id, header & 0x0f)?;
        }
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Result<(), &'static str> {
        let depth = depth.checked_sub(1).ok_or(TRUNCATED)?;
        match kind {
            TRUE | FALSE => Ok(()),
            BYTE => self.bytes(1),
            I16 | I32 | I64 => self.varint().map(|_| ()),
            DOUBLE => self.bytes(8),
            UUID => self.bytes(16),
            BINARY => {
                let length = self.varint()?;
                self.bytes(usize::try_from(length).map_err(|_| TRUNCATED)?)
            }
            LIST | SET => {
                let (kind, count) = self.list()?;
                (0..count).try_for_each(|_| self.skip_element(kind, depth))
            }
            MAP => {
                let count = self.varint()?;
                if count == 0 {
                    return Ok(());
                }
                let kinds = self.byte()?;
                (0..count).try_for_each(|_| {
                    self.skip_element(kinds >> 4, depth)?;
                    self.skip_element(kinds & 0x0f, depth)
                })
            }
            STRUCT => self.fields(|walker, _, kind| walker.skip(kind, depth)),
            _ => Err(TRUNCATED),
        }
    }

    /// In a collection a boolean takes a byte, other than as a field.
    fn skip_element(&mut self, kind: u8, depth: usize) -> Result<(), &'static str> {
        if matches!(kind, TRUE | FALSE) { self.bytes(1) } else { self.skip(kind, depth) }
    }

    fn list(&mut self) -> Result<(u8, usize), &'static str> {
        let header = self.byte()?;
        let count = match header >> 4 {
            15 => usize::try_from(self.varint()?).map_err(|_| TRUNCATED)?,
            short => usize::from(short),
        };
        Ok((header & 0x0f, count))
    }

    fn varint(&mut self) -> Result<u64, &'static str> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(TRUNCATED)
    }

    fn byte(&mut self) -> Result<u8, &'static str> {
        let (&first, rest) = self.rest.split_first().ok_or(TRUNCATED)?;
        self.rest = rest;
        Ok(first)
    }

    fn bytes(&mut self, count: usize) -> Result<(), &'static str> {
        self.rest = self.rest.get(count..).ok_or(TRUNCATED)?;
        Ok(())
    }
}

fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A schema list of structs that have nothing but num_children.
    fn schema(children: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x29, 0xf0 | STRUCT, children.len() as u8];
        for &count in children {
            bytes.extend([0x55, count << 1, 0]);
        }
        bytes.push(0);
        bytes
    }

    #[test]
    fn a_tree_that_is_there_passes() {
        assert_eq!(check(&schema(&[2, 0, 1, 0])), Ok(()));
    }

    #[test]
    fn more_children_than_elements() {
        assert!(check(&schema(&[5, 0, 0])).unwrap_err().contains("more columns"));
    }

    #[test]
    fn nested_beyond_the_bound() {
        assert!(check(&schema(&[1; 100])).unwrap_err().contains("too deep"));
    }

    #[test]
    fn more_row_groups_than_the_bound() {
        let bytes = [0x49, 0xfc, 0xff, 0xff, 0xff, 0x7f, 0];
        assert!(check(&bytes).unwrap_err().contains("row groups"));
    }

    #[test]
    fn a_count_without_its_elements() {
        assert_eq!(check(&[0x29, 0xfc, 0xff, 0xff, 0xff, 0x0f]), Err(TRUNCATED));
        assert_eq!(check(&[0x18, 0xff, 0xff, 0xff, 0xff, 0x0f]), Err(TRUNCATED));
    }

    #[test]
    fn nested_lists_do_not_exhaust_the_stack() {
        let mut bytes = vec![0x19];
        bytes.extend([0x19; 100_000]);
        assert_eq!(check(&bytes), Err(TRUNCATED));
    }
}
