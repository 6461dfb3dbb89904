//! NumPy's `.npy`, versions 1 to 3 (numpy.lib.format): magic, version, header length, a Python literal
//! `{'descr': .., 'fortran_order': .., 'shape': (.., ..)}`, the elements.

use crate::array::Array;
use crate::element::{Element, Kind};
use crate::error::{Error, FileDefect, Result};
use crate::source::Source;
use crate::table::ReadOptions;

const FORMAT: &str = ".npy";
const MAGIC: &[u8] = b"\x93NUMPY";
/// NumPy itself refuses longer headers unless told otherwise.
const HEADER_BYTES: usize = 10_000;
const DIMENSIONS: usize = 32;

pub(crate) fn is(head: &[u8]) -> bool {
    head.starts_with(MAGIC)
}

pub(crate) fn open<'a>(mut source: Source<'a>, options: &ReadOptions) -> Result<Array<'a>> {
    let mut start = [0; 8];
    source.fill(FORMAT, &mut start)?;
    let (length, length_bytes) = match start[6] {
        1 => {
            let mut bytes = [0; 2];
            source.fill(FORMAT, &mut bytes)?;
            (usize::from(u16::from_le_bytes(bytes)), 2)
        }
        2 | 3 => {
            let mut bytes = [0; 4];
            source.fill(FORMAT, &mut bytes)?;
            (u32::from_le_bytes(bytes) as usize, 4)
        }
        version => {
            let what = format!("version {version} of .npy is");
            let instead = "save the array again with numpy.save".into();
            return Err(Error::file(&source.file, FileDefect::Unsupported { what, instead }));
        }
    };
    if length > HEADER_BYTES {
        let reason = format!("its header of {length} bytes exceeds {HEADER_BYTES}");
        return Err(Error::malformed(&source.file, FORMAT, reason));
    }
    let mut text = vec![0; length];
    source.fill(FORMAT, &mut text)?;
    let header = parse(&text).map_err(|reason| Error::malformed(&source.file, FORMAT, reason))?;
    let element = element(&header.descr).ok_or_else(|| {
        let what = format!("elements of type {:?} are", header.descr);
        let instead = "convert with array.astype(numpy.float32), or labels to integers or text".into();
        Error::file(&source.file, FileDefect::Unsupported { what, instead })
    })?;
    let header_bytes = (8 + length_bytes + length) as u64;
    Array::new(source, FORMAT, header_bytes, element, &header.shape, header.fortran_order, options)
}

/// `descr`: byte order (`<`, `>`, `=`, `|`), kind and size.
fn element(descr: &str) -> Option<Element> {
    let mut chars = descr.chars();
    let big_endian = match chars.next()? {
        '<' | '|' | '=' => false,
        '>' => true,
        _ => return None,
    };
    let kind = match chars.as_str() {
        "b1" => Kind::Bool,
        "u1" => Kind::U8,
        "u2" => Kind::U16,
        "u4" => Kind::U32,
        "u8" => Kind::U64,
        "i1" => Kind::I8,
        "i2" => Kind::I16,
        "i4" => Kind::I32,
        "i8" => Kind::I64,
        "f2" => Kind::F16,
        "f4" => Kind::F32,
        "f8" => Kind::F64,
        text => match text.split_at_checked(1)? {
            ("S", length) => Kind::Bytes(length.parse().ok()?),
            ("U", length) => Kind::Unicode(length.parse().ok()?),
            _ => return None,
        },
    };
    Some(Element { kind, big_endian })
}

struct Header {
    descr: String,
    fortran_order: bool,
    shape: Vec<u64>,
}

fn parse(text: &[u8]) -> Result<Header, &'static str> {
    let text = str::from_utf8(text).map_err(|_| "its header is not text")?;
    let mut scanner = Scanner { rest: text };
    let (mut descr, mut fortran_order, mut shape) = (None, None, None);
    scanner.expect('{')?;
    while !scanner.accept('}') {
        let key = scanner.string()?;
        scanner.expect(':')?;
        match key {
            "descr" if scanner.at('[') => return Err("it holds records; save a plain array of numbers"),
            "descr" => descr = Some(scanner.string()?.to_string()),
            "fortran_order" => fortran_order = Some(scanner.boolean()?),
            "shape" => shape = Some(scanner.tuple()?),
            _ => return Err("its header has an unknown entry"),
        }
        if !scanner.accept(',') && !scanner.at('}') {
            return Err("its header has an entry without a comma");
        }
    }
    match (descr, fortran_order, shape) {
        (Some(descr), Some(fortran_order), Some(shape)) => Ok(Header { descr, fortran_order, shape }),
        _ => Err("its header lacks descr, fortran_order or shape"),
    }
}

/// The few Python literals of a header.
struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    fn at(&mut self, wanted: char) -> bool {
        self.rest = self.rest.trim_start();
        self.rest.starts_with(wanted)
    }

    fn accept(&mut self, wanted: char) -> bool {
        let found = self.at(wanted);
        if found {
            self.rest = &self.rest[wanted.len_utf8()..];
        }
        found
    }

    fn expect(&mut self, wanted: char) -> Result<(), &'static str> {
        if self.accept(wanted) { Ok(()) } else { Err("its header is no Python dictionary") }
    }

    fn string(&mut self) -> Result<&'a str, &'static str> {
        const REASON: &str = "its header has an unreadable string";
        let quote = if self.at('"') { '"' } else { '\'' };
        self.expect(quote)?;
        let (text, rest) = self.rest.split_once(quote).ok_or(REASON)?;
        self.rest = rest;
        if text.contains('\\') { Err(REASON) } else { Ok(text) }
    }

    fn boolean(&mut self) -> Result<bool, &'static str> {
        self.rest = self.rest.trim_start();
        for (word, value) in [("True", true), ("False", false)] {
            if let Some(rest) = self.rest.strip_prefix(word) {
                self.rest = rest;
                return Ok(value);
            }
        }
        Err("its header's fortran_order is neither True nor False")
    }

    fn tuple(&mut self) -> Result<Vec<u64>, &'static str> {
        const REASON: &str = "its header has an unreadable shape";
        let mut items = Vec::new();
        self.expect('(')?;
        while !self.accept(')') {
            self.rest = self.rest.trim_start();
            let digits = self.rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, rest) = self.rest.split_at(digits);
            items.push(number.parse().map_err(|_| REASON)?);
            self.rest = rest;
            if (!self.accept(',') && !self.at(')')) || items.len() > DIMENSIONS {
                return Err(REASON);
            }
        }
        Ok(items)
    }
}
