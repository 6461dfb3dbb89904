//! Bytes of a fixed order, read from the front: numbers are little-endian, parts of any length stand after it.

use blindsmith_keys::Key;
use zeroize::Zeroize;

/// What is left to be read.
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// What comes after the first bytes of a format, if bytes begin with them.
    pub fn after(magic: &[u8], bytes: &'a [u8]) -> Option<Self> {
        bytes.strip_prefix(magic).map(Reader)
    }

    /// So many bytes.
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(count)?;
        self.0 = tail;
        Some(head)
    }

    /// A fixed number of bytes.
    fn array<const COUNT: usize>(&mut self) -> Option<[u8; COUNT]> {
        let (head, tail) = self.0.split_first_chunk()?;
        self.0 = tail;
        Some(*head)
    }

    /// A number of 32 bits.
    pub fn number(&mut self) -> Option<usize> {
        Some(u32::from_le_bytes(self.array()?) as usize)
    }

    /// A number of 64 bits.
    pub fn count(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Bytes that stand after their number, of 32 bits.
    pub fn part(&mut self) -> Option<&'a [u8]> {
        let count = self.number()?;
        self.take(count)
    }

    /// So many numbers.
    pub fn floats(&mut self, count: usize) -> Option<Vec<f32>> {
        let bytes = self.take(count.checked_mul(4)?)?;
        Some(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
    }

    /// A digest, or another public value of 32 bytes.
    pub fn digest(&mut self) -> Option<[u8; 32]> {
        self.array()
    }

    /// A secret of 32 bytes.
    pub fn key(&mut self) -> Option<Key> {
        let mut bytes = self.digest()?;
        let key = Key::from_bytes(bytes);
        bytes.zeroize();
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_off_is_none_and_nothing_is_read_of_it() {
        let bytes =
            [b"FORM".as_slice(), &2_u32.to_le_bytes(), b"ab", &1.5_f32.to_le_bytes(), &[7; 64]].concat();
        assert!(Reader::after(b"form", &bytes).is_none());
        for len in 4..bytes.len() {
            let mut rest = Reader::after(b"FORM", &bytes[..len]).unwrap();
            let read = (rest.part().is_some(), rest.floats(1).is_some(), rest.digest().is_some());
            assert_eq!(read, (len >= 10, len >= 14, len >= 46), "{len}");
            assert!(rest.key().is_none());
        }
        let mut rest = Reader::after(b"FORM", &bytes).unwrap();
        assert_eq!((rest.part(), rest.floats(1)), (Some(&b"ab"[..]), Some(vec![1.5])));
        assert_eq!((rest.digest(), rest.key().unwrap().expose()), (Some([7; 32]), &[7; 32]));
        assert!(rest.0.is_empty() && rest.number().is_none());
        assert!(Reader(&[0xff; 8]).part().is_none() && Reader(&[0; 8]).floats(usize::MAX).is_none());
    }
}
