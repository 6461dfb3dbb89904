//! Binary arrays (`.npy`, IDX) as tables: the first dimension counts rows, the others are flattened.

use crate::collector::Collector;
use crate::element::Element;
use crate::error::{CellDefect, Error, FileDefect, Result};
use crate::source::Source;
use crate::table::ReadOptions;

const CHUNK_BYTES: usize = 1 << 16;

/// An array whose header has been read; `source` stands at its first element.
pub(crate) struct Array<'a> {
    source: Source<'a>,
    format: &'static str,
    element: Element,
    element_bytes: usize,
    rows: u64,
    columns: usize,
    /// Whether the first dimension varies fastest.
    by_column: bool,
}

impl<'a> Array<'a> {
    /// Checks a declared shape against the limits and, where it is known, the file's length. `header_bytes`
    /// is what came before the first element.
    pub(crate) fn new(
        source: Source<'a>,
        format: &'static str,
        header_bytes: u64,
        element: Element,
        shape: &[u64],
        by_column: bool,
        options: &ReadOptions,
    ) -> Result<Self> {
        let file = &source.file;
        let overflow = || Error::malformed(file, format, "its declared size is impossible");
        let Some((&rows, rest)) = shape.split_first() else {
            return Err(Error::malformed(file, format, "a single number, not a table"));
        };
        let columns = rest.iter().try_fold(1_u64, |n, &m| n.checked_mul(m)).ok_or_else(overflow)?;
        if rows == 0 || columns == 0 {
            return Err(Error::file(file, FileDefect::NoRows));
        }
        let limit = options.limits.columns as u64;
        if columns > limit {
            let defect = FileDefect::TooLarge { what: "columns", found: columns, limit, setting: "columns" };
            return Err(Error::file(file, defect));
        }
        let element_bytes = element.size().filter(|&size| size > 0).ok_or_else(overflow)?;
        if element_bytes > options.limits.cell_bytes.max(8) {
            let (found, limit) = (element_bytes as u64, options.limits.cell_bytes as u64);
            let defect =
                FileDefect::TooLarge { what: "bytes of one element", found, limit, setting: "cell_bytes" };
            return Err(Error::file(file, defect));
        }
        let data = rows.checked_mul(columns).and_then(|n| n.checked_mul(element_bytes as u64));
        let whole = data.and_then(|data| data.checked_add(header_bytes)).ok_or_else(overflow)?;
        if let Some(length) = source.length.filter(|&length| length != whole) {
            let reason = format!("its header declares {whole} bytes in all, but there are {length}");
            return Err(Error::malformed(file, format, reason));
        }
        let columns = columns as usize;
        if by_column && rest.len() > 1 {
            let what = "a column-major (Fortran order) array of more than two dimensions is".into();
            let instead = "save numpy.ascontiguousarray(array)".into();
            return Err(Error::file(file, FileDefect::Unsupported { what, instead }));
        }
        Ok(Self { source, format, element, element_bytes, rows, columns, by_column })
    }

    /// Reads the array as a table whose columns have positions, but no names.
    pub(crate) fn read(self, collector: &mut Collector<'_>) -> Result<()> {
        collector.begin(&self.source.file, None, self.columns, &[])?;
        self.collect(collector)
    }

    /// Reads the array as label columns, which must be as many as there are `features` rows.
    pub(crate) fn read_labels(self, features: u64, collector: &mut Collector<'_>) -> Result<()> {
        let file = &self.source.file;
        if self.rows != features {
            return Err(Error::file(file, FileDefect::LabelCount { features, labels: self.rows }));
        }
        collector.begin_labels(file, self.columns)?;
        self.collect(collector)
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    fn collect(mut self, collector: &mut Collector<'_>) -> Result<()> {
        collector.check_rows(self.rows)?;
        if self.source.length.is_some() {
            collector.reserve(self.rows)?;
        }
        if self.by_column {
            collector.grow(self.rows)?;
        }
        let mut scratch = String::new();
        let mut chunk = vec![0; (CHUNK_BYTES / self.element_bytes).max(1) * self.element_bytes];
        let (mut row, mut column) = (0_u64, 0);
        let mut left = self.rows * self.columns as u64;
        while left > 0 {
            let count = left.min((chunk.len() / self.element_bytes) as u64);
            let bytes = &mut chunk[..count as usize * self.element_bytes];
            self.source.fill(self.format, bytes)?;
            if !self.by_column {
                let reached = row + (column as u64 + count).div_ceil(self.columns as u64);
                collector.grow(reached)?;
            }
            for bytes in bytes.chunks_exact(self.element_bytes) {
                let value = self.element.value(bytes, &mut scratch).ok_or(CellDefect::NotUtf8);
                collector.store((row, None), column, value)?;
                (row, column) = self.next(row, column);
            }
            left -= count;
        }
        self.source.expect_end(self.format)
    }

    fn next(&self, row: u64, column: usize) -> (u64, usize) {
        match self.by_column {
            true if row + 1 == self.rows => (0, column + 1),
            true => (row + 1, column),
            false if column + 1 == self.columns => (row + 1, 0),
            false => (row, column + 1),
        }
    }
}
