//! Pages of one column chunk of a Parquet file, unpacked within the size that the chunk declares.
//!
//! The parquet crate unpacks a page before anyone can object to its size. So it is told here that chunks are
//! not compressed, and pages are unpacked as they come.

use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use parquet::basic::{Compression, Type};
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::ChunkReader;
use parquet::file::serialized_reader::SerializedPageReader;

/// Pages whose sizes and counts fit what the chunk and the row group declare.
pub(crate) struct Pages<R: ChunkReader> {
    packed: SerializedPageReader<R>,
    compression: Compression,
    physical: Type,
    /// Rows of the row group.
    rows: usize,
    /// Bytes of all the chunk's pages that are still to come.
    left: usize,
}

impl<R: ChunkReader> Pages<R> {
    pub(crate) fn supports(compression: Compression) -> bool {
        matches!(
            compression,
            Compression::UNCOMPRESSED
                | Compression::SNAPPY
                | Compression::GZIP(_)
                | Compression::ZSTD(_)
                | Compression::BROTLI(_)
                | Compression::LZ4_RAW
        )
    }

    pub(crate) fn open(content: &Arc<R>, chunk: &ColumnChunkMetaData, rows: usize) -> Result<Self> {
        let compression = chunk.compression();
        let as_it_is = chunk.clone().into_builder().set_compression(Compression::UNCOMPRESSED).build()?;
        Ok(Self {
            packed: SerializedPageReader::new(Arc::clone(content), &as_it_is, rows, None)?,
            compression,
            physical: chunk.column_type(),
            rows,
            left: usize::try_from(chunk.uncompressed_size())?,
        })
    }

    fn unpacked(&mut self, page: Page) -> Result<Page> {
        Ok(match page {
            Page::DataPage {
                buf,
                num_values,
                encoding,
                def_level_encoding,
                rep_level_encoding,
                statistics,
            } => Page::DataPage {
                buf: self.unpack(&buf, 0)?,
                num_values: self.at_most(num_values, self.rows)?,
                encoding,
                def_level_encoding,
                rep_level_encoding,
                statistics,
            },
            Page::DataPageV2 {
                buf,
                num_values,
                encoding,
                num_nulls,
                num_rows,
                def_levels_byte_len,
                rep_levels_byte_len,
                is_compressed,
                statistics,
            } => {
                let levels = u64::from(def_levels_byte_len) + u64::from(rep_levels_byte_len);
                let plain = if is_compressed { usize::try_from(levels)? } else { buf.len() };
                Page::DataPageV2 {
                    buf: self.unpack(&buf, plain)?,
                    num_values: self.at_most(num_values, self.rows)?,
                    encoding,
                    num_nulls,
                    num_rows,
                    def_levels_byte_len,
                    rep_levels_byte_len,
                    is_compressed: false,
                    statistics,
                }
            }
            Page::DictionaryPage { buf, num_values, encoding, is_sorted } => {
                let buf = self.unpack(&buf, 0)?;
                let num_values = self.at_most(num_values, buf.len() / self.least_width())?;
                Page::DictionaryPage { buf, num_values, encoding, is_sorted }
            }
        })
    }

    /// The first `plain` bytes as they are, the rest unpacked.
    fn unpack(&mut self, bytes: &Bytes, plain: usize) -> Result<Bytes> {
        let (levels, packed) = bytes.split_at_checked(plain).ok_or_else(|| general("a page is too short"))?;
        let limit = self.left.checked_sub(plain).ok_or_else(too_long)?;
        let unpacked = match self.compression {
            Compression::UNCOMPRESSED => bytes.slice(plain..),
            // A page without a value that is not null.
            _ if packed.is_empty() => Bytes::new(),
            Compression::SNAPPY => {
                if snap::raw::decompress_len(packed).map_err(general)? > limit {
                    return Err(too_long());
                }
                snap::raw::Decoder::new().decompress_vec(packed).map_err(general)?.into()
            }
            Compression::GZIP(_) => read(MultiGzDecoder::new(packed), limit)?,
            Compression::ZSTD(_) => {
                let decoder = ruzstd::decoding::StreamingDecoder::new(packed).map_err(general)?;
                read(decoder, limit)?
            }
            Compression::BROTLI(_) => read(brotli_decompressor::Decompressor::new(packed, BUFFER), limit)?,
            Compression::LZ4_RAW => lz4(packed, limit)?,
            other => return Err(general(format!("{other} compression"))),
        };
        self.left = limit.checked_sub(unpacked.len()).ok_or_else(too_long)?;
        Ok(if levels.is_empty() { unpacked } else { [levels, &unpacked].concat().into() })
    }

    fn at_most(&self, values: u32, bound: usize) -> Result<u32> {
        if values as usize <= bound { Ok(values) } else { Err(general("a page declares too many values")) }
    }

    /// Bytes that a value of a dictionary takes at least.
    fn least_width(&self) -> usize {
        match self.physical {
            Type::INT32 | Type::FLOAT | Type::BYTE_ARRAY => 4,
            Type::INT64 | Type::DOUBLE => 8,
            Type::INT96 => 12,
            Type::BOOLEAN | Type::FIXED_LEN_BYTE_ARRAY => 1,
        }
    }
}

/// Bytes that the decoder of Brotli reads at a time.
const BUFFER: usize = 4_096;

/// A block of LZ4, which does not say how long it becomes: at most 255 times as long, and within the limit.
fn lz4(packed: &[u8], limit: usize) -> Result<Bytes> {
    let most = limit.min(packed.len().saturating_mul(255));
    let mut bytes = vec![0; most];
    match lz4_flex::block::decompress_into(packed, &mut bytes) {
        Ok(length) => bytes.truncate(length),
        Err(lz4_flex::block::DecompressError::OutputTooSmall { .. }) => return Err(too_long()),
        Err(damaged) => return Err(general(damaged)),
    }
    Ok(bytes.into())
}

fn read(decoder: impl Read, limit: usize) -> Result<Bytes> {
    let mut bytes = Vec::new();
    decoder.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(general)?;
    if bytes.len() > limit { Err(too_long()) } else { Ok(bytes.into()) }
}

fn too_long() -> ParquetError {
    general("a page is longer than its column declares")
}

fn general(reason: impl ToString) -> ParquetError {
    ParquetError::General(reason.to_string())
}

impl<R: ChunkReader> Iterator for Pages<R> {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl<R: ChunkReader> PageReader for Pages<R> {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        self.packed.get_next_page()?.map(|page| self.unpacked(page)).transpose()
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.packed.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.packed.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.packed.at_record_boundary()
    }
}

#[cfg(test)]
mod tests {
    use parquet::file::metadata::ParquetMetaDataReader;

    use super::*;

    /// What reading the pages of the first chunk gives when the chunk declares `share` of its true size.
    fn first_chunk(file: &'static [u8], share: f64) -> Result<Vec<Page>> {
        let content = Arc::new(Bytes::from_static(file));
        let metadata = ParquetMetaDataReader::new().parse_and_finish(&*content)?;
        let group = metadata.row_group(0);
        let size = (group.column(0).uncompressed_size() as f64 * share) as i64;
        let chunk = group.column(0).clone().into_builder().set_total_uncompressed_size(size).build()?;
        Pages::open(&content, &chunk, group.num_rows() as usize)?.collect()
    }

    #[test]
    fn pages_longer_than_declared() {
        for (codec, file) in [
            ("none", &include_bytes!("../tests/data/none.parquet")[..]),
            ("snappy", include_bytes!("../tests/data/snappy.parquet")),
            ("gzip", include_bytes!("../tests/data/gzip.parquet")),
            ("zstd", include_bytes!("../tests/data/zstd.parquet")),
            ("brotli", include_bytes!("../tests/data/brotli.parquet")),
            ("lz4", include_bytes!("../tests/data/lz4.parquet")),
            ("pages_v2", include_bytes!("../tests/data/pages_v2.parquet")),
        ] {
            assert!(!first_chunk(file, 1.0).unwrap().is_empty(), "{codec}");
            let refused = first_chunk(file, 0.1).unwrap_err().to_string();
            assert!(refused.contains("longer than its column declares"), "{codec}: {refused}");
        }
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        use std::io::Write;

        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(&vec![0; 4 << 20]).unwrap();
        let bomb = encoder.finish().unwrap();
        assert!(read(MultiGzDecoder::new(&bomb[..]), 1_000).is_err());
        assert_eq!(read(MultiGzDecoder::new(&bomb[..]), 4 << 20).unwrap().len(), 4 << 20);
    }
}
