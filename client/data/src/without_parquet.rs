//! No Parquet: what a build without the feature `parquet` has in its place.

use crate::collector::Collector;
use crate::error::{Error, FileDefect, Result};
use crate::source::Source;

pub(crate) fn is(head: &[u8]) -> bool {
    head.starts_with(b"PAR1")
}

pub(crate) fn read(source: Source<'_>, _: &mut Collector<'_>) -> Result<()> {
    Err(Error::file(&source.file, FileDefect::WithoutParquet))
}
