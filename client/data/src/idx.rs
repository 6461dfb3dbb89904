//! IDX, the format of MNIST: two zero bytes, an element type, the number of dimensions, the dimensions as
//! big-endian u32, the elements (Y. LeCun, C. Cortes, C. Burges, The MNIST database of handwritten digits).

use std::path::{Path, PathBuf};

use crate::array::Array;
use crate::element::{Element, Kind};
use crate::error::{Error, Result};
use crate::source::Source;
use crate::table::ReadOptions;

const FORMAT: &str = "IDX";

/// The two parts of a directory of MNIST's standard files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// `train-images-idx3-ubyte` and `train-labels-idx1-ubyte`.
    Train,
    /// `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`.
    Test,
}

impl Part {
    /// The images and the labels in `directory`: the standard names, with `.` or `-` before `idx`, with or
    /// without `.gz`.
    pub(crate) fn files(self, directory: &Path) -> Result<(PathBuf, PathBuf)> {
        let prefix = match self {
            Self::Train => "train",
            Self::Test => "t10k",
        };
        Ok((
            find(directory, &format!("{prefix}-images"), "idx3-ubyte")?,
            find(directory, &format!("{prefix}-labels"), "idx1-ubyte")?,
        ))
    }
}

fn find(directory: &Path, stem: &str, ending: &str) -> Result<PathBuf> {
    let names = ["-", "."].into_iter().flat_map(|separator| {
        ["", ".gz"].map(|compression| format!("{stem}{separator}{ending}{compression}"))
    });
    names.map(|name| directory.join(name)).find(|path| path.is_file()).ok_or_else(|| {
        let message = format!(
            "neither {stem}-{ending} nor {stem}-{ending}.gz is there; \
             name the directory of the four IDX files"
        );
        let source = std::io::Error::new(std::io::ErrorKind::NotFound, message);
        Error::Io { file: directory.display().to_string(), source }
    })
}

pub(crate) fn is(head: &[u8]) -> bool {
    matches!(head, [0, 0, kind, dimensions, ..] if element(*kind).is_some() && *dimensions > 0)
}

pub(crate) fn open<'a>(mut source: Source<'a>, options: &ReadOptions) -> Result<Array<'a>> {
    let mut start = [0; 4];
    source.fill(FORMAT, &mut start)?;
    let Some(element) = element(start[2]) else {
        return Err(Error::malformed(&source.file, FORMAT, "unknown element type"));
    };
    let mut shape = Vec::with_capacity(usize::from(start[3]));
    for _ in 0..start[3] {
        let mut dimension = [0; 4];
        source.fill(FORMAT, &mut dimension)?;
        shape.push(u64::from(u32::from_be_bytes(dimension)));
    }
    let header_bytes = 4 + 4 * shape.len() as u64;
    Array::new(source, FORMAT, header_bytes, element, &shape, false, options)
}

fn element(code: u8) -> Option<Element> {
    let kind = match code {
        0x08 => Kind::U8,
        0x09 => Kind::I8,
        0x0b => Kind::I16,
        0x0c => Kind::I32,
        0x0d => Kind::F32,
        0x0e => Kind::F64,
        _ => return None,
    };
    Some(Element { kind, big_endian: true })
}
