//! Where bytes come from: a file or memory, gzipped or not, never more than the limit.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, ErrorKind, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;

use crate::error::{Error, FileDefect, Result};
use crate::limits::Limits;

/// Bytes looked at to tell the formats apart.
const HEAD_BYTES: usize = 16;
const BUFFER_BYTES: usize = 1 << 16;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The content of a file after decompression.
pub(crate) struct Source<'a> {
    pub(crate) file: String,
    /// The first bytes, still to be read.
    pub(crate) head: Vec<u8>,
    /// Bytes in all, known where nothing is compressed.
    pub(crate) length: Option<u64>,
    reader: Box<dyn BufRead + 'a>,
    gzip: bool,
    backing: Backing<'a>,
    limit: u64,
}

enum Backing<'a> {
    Path(PathBuf),
    Memory(&'a [u8]),
}

/// Content that can be read at any position.
pub(crate) enum Seekable {
    File(File),
    Memory(Bytes),
}

impl Source<'static> {
    pub(crate) fn open(path: &Path, limits: &Limits) -> Result<Self> {
        let file = path.display().to_string();
        let failed = |source| Error::Io { file: path.display().to_string(), source };
        let opened = File::open(path).map_err(failed)?;
        let metadata = opened.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(Error::file(&file, FileDefect::Directory));
        }
        let length = metadata.is_file().then_some(metadata.len());
        let reader = BufReader::with_capacity(BUFFER_BYTES, opened);
        Source::new(file, reader, length, Backing::Path(path.into()), limits)
    }
}

impl<'a> Source<'a> {
    pub(crate) fn memory(name: &str, bytes: &'a [u8], limits: &Limits) -> Result<Self> {
        let backing = Backing::Memory(bytes);
        Source::new(name.into(), Cursor::new(bytes), Some(bytes.len() as u64), backing, limits)
    }

    fn new(
        file: String,
        mut reader: impl BufRead + 'a,
        length: Option<u64>,
        backing: Backing<'a>,
        limits: &Limits,
    ) -> Result<Self> {
        let limit = limits.file_bytes;
        let first = head(&mut reader).map_err(|source| Error::Io { file: file.clone(), source })?;
        let gzip = first.starts_with(&GZIP_MAGIC);
        let whole = Cursor::new(first.clone()).chain(reader);
        if !gzip {
            if let Some(found) = length.filter(|&found| found > limit) {
                return Err(too_large(&file, found, limit));
            }
            let reader = Box::new(BufReader::with_capacity(BUFFER_BYTES, Capped::new(whole, limit)));
            return Ok(Self { file, head: first, length, reader, gzip, backing, limit });
        }
        let unpacked = Capped::new(MultiGzDecoder::new(whole), limit);
        let mut reader = BufReader::with_capacity(BUFFER_BYTES, unpacked);
        let head = head(&mut reader).map_err(|e| failure(&file, true, limit, e))?;
        let reader = Box::new(Cursor::new(head.clone()).chain(reader));
        Ok(Self { file, head, length: None, reader, gzip, backing, limit })
    }

    /// The bytes that are buffered next; empty at the end.
    pub(crate) fn buffered(&mut self) -> Result<&[u8]> {
        self.reader.fill_buf().map_err(|e| failure(&self.file, self.gzip, self.limit, e))
    }

    pub(crate) fn consume(&mut self, count: usize) {
        self.reader.consume(count);
    }

    /// Fills `buffer`; a source that ends before is refused as a damaged `format`.
    pub(crate) fn fill(&mut self, format: &'static str, buffer: &mut [u8]) -> Result<()> {
        self.reader.read_exact(buffer).map_err(|e| match e.kind() {
            ErrorKind::UnexpectedEof if !self.gzip => {
                Error::malformed(&self.file, format, "ends before its declared size")
            }
            _ => self.failure(e),
        })
    }

    /// Refuses bytes after the end of the content.
    pub(crate) fn expect_end(&mut self, format: &'static str) -> Result<()> {
        if self.buffered()?.is_empty() {
            return Ok(());
        }
        Err(Error::malformed(&self.file, format, "goes on after its declared size"))
    }

    /// Gives up the stream for positions; what was compressed is unpacked into memory.
    pub(crate) fn seekable(mut self) -> Result<Seekable> {
        if self.gzip {
            let mut content = Vec::new();
            self.reader.read_to_end(&mut content).map_err(|e| self.failure(e))?;
            return Ok(Seekable::Memory(content.into()));
        }
        match self.backing {
            Backing::Memory(bytes) => Ok(Seekable::Memory(Bytes::copy_from_slice(bytes))),
            Backing::Path(path) => {
                let file = File::open(path).map_err(|source| Error::Io { file: self.file, source })?;
                Ok(Seekable::File(file))
            }
        }
    }

    fn failure(&self, error: io::Error) -> Error {
        failure(&self.file, self.gzip, self.limit, error)
    }
}

fn head(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD_BYTES);
    reader.take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    Ok(head)
}

fn failure(file: &str, gzip: bool, limit: u64, error: io::Error) -> Error {
    if error.get_ref().is_some_and(|inner| inner.is::<OverLimit>()) {
        return too_large(file, limit.saturating_add(1), limit);
    }
    match error.kind() {
        ErrorKind::UnexpectedEof if gzip => Error::malformed(file, "gzip", "ends early"),
        ErrorKind::InvalidData | ErrorKind::InvalidInput if gzip => Error::malformed(file, "gzip", error),
        _ => Error::Io { file: file.into(), source: error },
    }
}

fn too_large(file: &str, found: u64, limit: u64) -> Error {
    let defect = FileDefect::TooLarge { what: "bytes of content", found, limit, setting: "file_bytes" };
    Error::file(file, defect)
}

/// Hands out `left` bytes and fails where there are more.
struct Capped<R> {
    inner: R,
    left: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("over the limit")]
struct OverLimit;

impl<R> Capped<R> {
    fn new(inner: R, limit: u64) -> Self {
        Self { inner, left: limit }
    }
}

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // One byte beyond the limit tells a source that ends there from one that goes on.
        let room = usize::try_from(self.left.saturating_add(1)).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(room);
        let count = self.inner.read(&mut buffer[..wanted])?;
        if count as u64 > self.left {
            return Err(io::Error::other(OverLimit));
        }
        self.left -= count as u64;
        Ok(count)
    }
}
