//! What a table is read from: a file, a directory of files, memory, or features and labels apart.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::array::Array;
use crate::cells::Cells;
use crate::collector::{Collector, Gathered, LabelColumns};
use crate::error::{Error, FileDefect, Result};
use crate::limits::Limits;
#[cfg(feature = "parquet")]
use crate::parquet;
use crate::reading::Reading;
use crate::source::Source;
use crate::table::{Columns, ReadOptions};
#[cfg(not(feature = "parquet"))]
use crate::without_parquet as parquet;
use crate::{csv, idx, npy};

/// One file, or what stands for it.
enum Input<'a> {
    Path(PathBuf),
    Memory(&'a str, &'a [u8]),
    Cells(&'a Cells<'a>),
    /// The content of what can be read once only.
    Kept(String, Vec<u8>),
}

/// What is read of an input.
enum Opened<'a> {
    Source(Source<'a>),
    Cells(&'a Cells<'a>),
}

/// Features or labels that are apart from each other.
enum Apart<'a> {
    Array(Array<'a>),
    Cells(&'a Cells<'a>),
}

impl Apart<'_> {
    fn rows(&self) -> u64 {
        match self {
            Self::Array(array) => array.rows(),
            Self::Cells(cells) => cells.rows() as u64,
        }
    }

    fn read(self, collector: &mut Collector<'_>) -> Result<()> {
        match self {
            Self::Array(array) => array.read(collector),
            Self::Cells(cells) => cells.read(collector),
        }
    }

    fn read_labels(self, features: u64, collector: &mut Collector<'_>) -> Result<()> {
        match self {
            Self::Array(array) => array.read_labels(features, collector),
            Self::Cells(cells) => cells.read_labels(features, collector),
        }
    }
}

/// The files of one table, which can be read more than once.
pub(crate) struct Inputs<'a> {
    name: String,
    features: Vec<Input<'a>>,
    /// Labels in a file of their own.
    labels: Option<Input<'a>>,
}

/// What was read of a table.
pub(crate) struct Content {
    pub(crate) gathered: Gathered,
    pub(crate) labels: Option<LabelColumns>,
    pub(crate) left_out: Vec<String>,
}

impl Input<'_> {
    /// A path that can be read again, or the content of a pipe.
    fn of(path: &Path, options: &ReadOptions) -> Result<Self> {
        let again = matches!(options.columns, Columns::Inferred(_));
        if !again || !fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
            return Ok(Self::Path(path.into()));
        }
        let (name, limit) = (path.display().to_string(), options.limits.file_bytes);
        let mut content = Vec::new();
        let read =
            File::open(path).and_then(|file| file.take(limit.saturating_add(1)).read_to_end(&mut content));
        read.map_err(|source| Error::Io { file: name.clone(), source })?;
        Ok(Self::Kept(name, content))
    }

    fn open(&self, limits: &Limits) -> Result<Opened<'_>> {
        Ok(Opened::Source(match self {
            Self::Path(path) => Source::open(path, limits)?,
            Self::Memory(name, bytes) => Source::memory(name, bytes, limits)?,
            Self::Kept(name, bytes) => Source::memory(name, bytes, limits)?,
            Self::Cells(cells) => return Ok(Opened::Cells(cells)),
        }))
    }

    /// Reads it as a table of any format.
    fn read(&self, collector: &mut Collector<'_>) -> Result<()> {
        let source = match self.open(&collector.options().limits)? {
            Opened::Source(source) => source,
            Opened::Cells(cells) => return cells.read(collector),
        };
        if source.head.is_empty() {
            return Err(Error::file(&source.file, FileDefect::Empty));
        }
        if parquet::is(&source.head) {
            parquet::read(source, collector)
        } else if npy::is(&source.head) {
            npy::open(source, collector.options())?.read(collector)
        } else if idx::is(&source.head) {
            idx::open(source, collector.options())?.read(collector)
        } else {
            csv::read(source, collector)
        }
    }

    fn apart(&self, options: &ReadOptions) -> Result<Apart<'_>> {
        let source = match self.open(&options.limits)? {
            Opened::Source(source) => source,
            Opened::Cells(cells) => return Ok(Apart::Cells(cells)),
        };
        if npy::is(&source.head) {
            npy::open(source, options).map(Apart::Array)
        } else if idx::is(&source.head) {
            idx::open(source, options).map(Apart::Array)
        } else {
            Err(Error::malformed(&source.file, ".npy or IDX", "it begins as neither"))
        }
    }
}

impl<'a> Inputs<'a> {
    /// A file, or the tables in a directory.
    pub(crate) fn path(path: &Path, options: &ReadOptions) -> Result<Self> {
        let features = match path.is_dir() {
            true => files(path)?.into_iter().map(Input::Path).collect(),
            false => vec![Input::of(path, options)?],
        };
        Ok(Self { name: path.display().to_string(), features, labels: None })
    }

    pub(crate) fn memory(name: &'a str, bytes: &'a [u8]) -> Self {
        Self { name: name.into(), features: vec![Input::Memory(name, bytes)], labels: None }
    }

    /// A table in memory, whose labels may be apart.
    pub(crate) fn cells(features: &'a Cells<'a>, labels: Option<&'a Cells<'a>>) -> Self {
        let labels = labels.map(Input::Cells);
        Self { name: features.name().into(), features: vec![Input::Cells(features)], labels }
    }

    /// A file of features and one of labels.
    pub(crate) fn pair(features: &Path, labels: &Path, options: &ReadOptions) -> Result<Self> {
        let name = features.display().to_string();
        let (features, labels) = (Input::of(features, options)?, Input::of(labels, options)?);
        Ok(Self { name, features: vec![features], labels: Some(labels) })
    }

    /// Labels of their own, from memory.
    pub(crate) fn with_labels(self, name: &'a str, bytes: &'a [u8]) -> Self {
        Self { labels: Some(Input::Memory(name, bytes)), ..self }
    }

    /// Reads all of it, feature columns in the given ways, or as the options say.
    pub(crate) fn gather(&self, options: &ReadOptions, readings: Option<Vec<Reading>>) -> Result<Content> {
        let (Some(label_input), [feature_input]) = (&self.labels, self.features.as_slice()) else {
            let mut collector = Collector::new(options, readings);
            self.features.iter().try_for_each(|input| input.read(&mut collector))?;
            return collector.finish(&self.name);
        };
        let features = feature_input.apart(options)?;
        let labels = label_input.apart(options)?;
        let mut of_labels = Collector::new(options, None);
        labels.read_labels(features.rows(), &mut of_labels)?;
        let of_labels = of_labels.finish(&self.name)?;
        if !of_labels.gathered.refused.is_empty() {
            return Err(Error::cells(of_labels.gathered.refused));
        }
        let unlabelled = ReadOptions { labels: Vec::new(), ..options.clone() };
        let mut collector = Collector::new(&unlabelled, readings);
        features.read(&mut collector)?;
        Ok(Content { labels: of_labels.labels, ..collector.finish(&self.name)? })
    }
}

/// The tables in a directory, by name. Hidden files, and those that begin with an underscore as the notes of Spark do, are
/// none.
fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let name = directory.display().to_string();
    let failed = |source| Error::Io { file: name.clone(), source };
    let (mut texts, mut parquet) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let file = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        if file.starts_with(['.', '_']) || path.is_dir() {
            continue;
        }
        if file.ends_with(".parquet") {
            parquet.push(path);
        } else if file.ends_with(".csv") || file.ends_with(".csv.gz") {
            texts.push(path);
        }
    }
    let defect = match (texts.is_empty(), parquet.is_empty()) {
        (true, true) => FileDefect::Directory,
        (false, false) => FileDefect::MixedDirectory,
        _ => {
            texts.append(&mut parquet);
            texts.sort();
            return Ok(texts);
        }
    };
    Err(Error::file(&name, defect))
}
