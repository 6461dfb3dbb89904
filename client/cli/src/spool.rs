//! Rows that wait on their contributor's machine until they fill row blocks: a block takes the same room however few
//! rows are in it.
//!
//! What waits survives any crash and is sent once: before rows are sent, their number is written down, and an upload that
//! was interrupted is made again from the same rows, bit for bit, so that the refinery knows it if it has it already.
//!
//! A spool is a file for each role, readable by its user alone: `BSSPOOL1`; CBOR of rows that are being sent, columns,
//! outputs (none where targets are class numbers), features and targets (32 bits a value, little-endian).

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use blindsmith_keys::Freshness;
use blindsmith_learn::{Matrix, Targets};
use blindsmith_protocol::{Blob, MAX_ROWS, ProjectSpec, Role, from_cbor, to_cbor};

use crate::project::write_file;
use crate::rows::Rows;
use crate::upload::send_with;
use crate::{Connection, Failure, Sender, Sent};

const MAGIC: &[u8; 8] = b"BSSPOOL1";

type Fields = (u32, u32, Option<u32>, Blob, Blob);

/// Rows that wait.
pub struct Spool {
    path: PathBuf,
    _alone: File,
    /// The first rows, which are being sent or were when this was interrupted.
    sending: usize,
    rows: Option<(Matrix, Targets)>,
}

fn bytes<const N: usize, T>(values: &[T], to: impl Fn(&T) -> [u8; N]) -> Blob {
    Blob(values.iter().flat_map(to).collect())
}

fn floats(bytes: &Blob) -> Vec<f32> {
    bytes.0.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

fn numbers(bytes: &Blob) -> Vec<u32> {
    bytes.0.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect()
}

/// The rows from `from` to `to`.
fn part(rows: &(Matrix, Targets), from: usize, to: usize) -> (Matrix, Targets) {
    let cut = |m: &Matrix| {
        // Unwrap safety: the values of so many rows.
        Matrix::from_rows(to - from, m.cols(), m.values_of(from..to).to_vec()).expect("rows of a matrix")
    };
    let targets = match &rows.1 {
        Targets::Classes(classes) => Targets::Classes(classes[from..to].to_vec()),
        Targets::Values(values) => Targets::Values(cut(values)),
    };
    (cut(&rows.0), targets)
}

impl Spool {
    /// The spool of a project's directory for rows of this role; nobody else uses it until this is dropped.
    ///
    /// # Errors
    /// If it cannot be read, or is damaged.
    pub fn open(dir: &Path, role: Role) -> Result<Self, Failure> {
        let path = dir.join(if role == Role::Validation { "spool.validation" } else { "spool.training" });
        let lock = dir.join("spool.lock");
        let alone = File::create(&lock).map_err(|e| Failure::project(&lock, e))?;
        alone.lock().map_err(|e| Failure::project(&lock, e))?;
        let read = match fs::read(&path) {
            Ok(read) => Some(read),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => return Err(Failure::project(&path, e)),
        };
        let mut spool = Spool { path, _alone: alone, sending: 0, rows: None };
        if let Some(read) = read {
            let damaged = || Failure::project(&spool.path, "damaged: take it away, and push its rows again");
            (spool.sending, spool.rows) = Spool::decode(&read).ok_or_else(damaged)?;
        }
        Ok(spool)
    }

    fn decode(read: &[u8]) -> Option<(usize, Option<(Matrix, Targets)>)> {
        let (sending, cols, outputs, features, targets): Fields =
            from_cbor(read.strip_prefix(MAGIC.as_slice())?).ok()?;
        let (sending, cols) = (sending as usize, cols as usize);
        let count = features.0.len().checked_div(4 * cols)?;
        let features = Matrix::from_rows(count, cols, floats(&features))?;
        let targets = match outputs {
            None => Targets::Classes(numbers(&targets)),
            Some(outputs) => Targets::Values(Matrix::from_rows(count, outputs as usize, floats(&targets))?),
        };
        let fits = !matches!(&targets, Targets::Classes(classes) if classes.len() != count);
        (fits && sending <= count).then_some((sending, (count > 0).then_some((features, targets))))
    }

    fn save(&self) -> Result<(), Failure> {
        let none = || (Matrix::zeros(0, 1), Targets::Classes(vec![]));
        let empty;
        let (features, targets) = match &self.rows {
            Some(rows) => rows,
            None => {
                empty = none();
                &empty
            }
        };
        let float = |m: &Matrix| bytes(m.as_slice(), |v| v.to_le_bytes());
        let (outputs, targets) = match targets {
            Targets::Classes(classes) => (None, bytes(classes, |c| c.to_le_bytes())),
            Targets::Values(values) => (Some(values.cols() as u32), float(values)),
        };
        let fields: Fields = (self.sending as u32, features.cols() as u32, outputs, float(features), targets);
        write_file(&self.path, &[MAGIC.as_slice(), &to_cbor(&fields)].concat())
    }

    /// Rows that wait.
    pub fn len(&self) -> usize {
        self.rows.as_ref().map_or(0, |(features, _)| features.rows())
    }

    /// Whether none do.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds rows; durable when this returns.
    ///
    /// # Errors
    /// If they do not fit those that wait, or are too many, or cannot be written.
    pub fn add(&mut self, more: Rows) -> Result<(), Failure> {
        let other =
            || Failure::project(&self.path, "rows of another form wait in it: blindsmith flush first");
        let joined = match self.rows.take() {
            None => (more.features, more.targets),
            Some((features, targets)) => {
                let join = |a: Matrix, b: Matrix| {
                    let (rows, cols) = (a.rows() + b.rows(), a.cols());
                    let same = cols == b.cols();
                    same.then(|| Matrix::from_rows(rows, cols, [a.into_vec(), b.into_vec()].concat()))
                        .flatten()
                };
                let targets = match (targets, more.targets) {
                    (Targets::Classes(a), Targets::Classes(b)) => Some(Targets::Classes([a, b].concat())),
                    (Targets::Values(a), Targets::Values(b)) => join(a, b).map(Targets::Values),
                    _ => None,
                };
                (join(features, more.features).ok_or_else(other)?, targets.ok_or_else(other)?)
            }
        };
        if joined.0.rows() > MAX_ROWS as usize {
            return Err(Failure::Settings(format!(
                "{} rows would wait, where {MAX_ROWS} can: push them without --spool",
                joined.0.rows()
            )));
        }
        self.rows = Some(joined);
        self.save()
    }

    /// Sends rows that fill blocks, all if `all`; and what was being sent when this was interrupted. What was sent.
    ///
    /// # Errors
    /// As [`crate::send`]; rows that were not acknowledged wait.
    pub fn send(
        &mut self,
        connection: &mut Connection,
        spec: &ProjectSpec,
        sender: Sender<'_>,
        (role, all): (Role, bool),
    ) -> Result<Vec<(Sent, usize)>, Failure> {
        let mut done = Vec::new();
        loop {
            if self.sending == 0 {
                let full = self.len() / spec.block_rows() * spec.block_rows();
                self.sending = if all { self.len() } else { full };
                if self.sending > 0 {
                    self.save()?;
                }
            }
            let Some(rows) = self.rows.as_ref().filter(|_| self.sending > 0) else { return Ok(done) };
            let (features, targets) = part(rows, 0, self.sending);
            let how = (role, Freshness::Reproducible);
            let sent = send_with(connection, spec, sender, how, (&features, &targets), &mut |_| {})?;
            done.push((sent, self.sending));
            let rest = part(rows, self.sending, self.len());
            (self.rows, self.sending) = ((rest.0.rows() > 0).then_some(rest), 0);
            self.save()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: usize, from: u32) -> Rows {
        let values = (0..count as u32 * 2).map(|i| (from + i) as f32).collect();
        let features = Matrix::from_rows(count, 2, values).unwrap();
        Rows { features, targets: Targets::Classes((from..from + count as u32).collect()), clipped: 0 }
    }

    #[test]
    fn rows_wait_in_their_order_and_damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(dir.path(), Role::Training).unwrap();
        assert!(spool.is_empty());
        spool.add(rows(3, 0)).unwrap();
        drop(spool);
        let mut spool = Spool::open(dir.path(), Role::Training).unwrap();
        spool.add(rows(2, 3)).unwrap();
        drop(spool);
        let spool = Spool::open(dir.path(), Role::Training).unwrap();
        let (features, targets) = spool.rows.as_ref().unwrap();
        assert_eq!((features.shape(), spool.len()), ((5, 2), 5));
        assert!(matches!(targets, Targets::Classes(c) if *c == [0, 1, 2, 3, 4]));
        let (middle, _) = part(spool.rows.as_ref().unwrap(), 2, 4);
        assert_eq!(middle.as_slice(), [4., 5., 3., 4.]);
        assert!(Spool::open(dir.path().join("none").as_path(), Role::Training).is_err());
        let path = spool.path.clone();
        drop(spool);
        let whole = fs::read(&path).unwrap();
        for len in 0..whole.len() {
            fs::write(&path, &whole[..len]).unwrap();
            assert!(Spool::open(dir.path(), Role::Training).is_err(), "cut to {len}");
        }
        assert!(Spool::open(dir.path(), Role::Validation).unwrap().is_empty(), "another role's");
    }

    #[test]
    fn rows_of_another_form_do_not_join() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(dir.path(), Role::Training).unwrap();
        spool.add(rows(3, 0)).unwrap();
        let other = Rows { features: Matrix::zeros(1, 3), targets: Targets::Classes(vec![0]), clipped: 0 };
        assert!(spool.add(other).is_err());
        drop(spool);
        assert_eq!(Spool::open(dir.path(), Role::Training).unwrap().len(), 3, "nothing changed");
    }
}
