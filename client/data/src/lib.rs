//! The client's side of plain data: tables in, models in and out.
//!
//! Files become numbers here and numbers become files; nothing in this crate encrypts or sends.
//!
//! - [`Table::read`] reads CSV, Parquet, `.npy` and IDX (plain or gzipped, told apart by content) into a
//!   [`Frame`] of features and label columns, and [`Table::classify`], [`Table::multi_label`] and
//!   [`Table::regress`] make a [`Dataset`] of it.
//! - [`Preprocessing`] is what a project records of its columns: numbers, truth values, dates, categories, and what stands
//!   in for missing values. A first table decides it, as [`Columns::Inferred`] says.
//! - [`Standardiser`] brings features (and regression targets) into `[-1, 1]`, the same way for every
//!   contributor and every query.
//! - [`Permutation`] puts rows in a keyed order before they are packed.
//! - [`ModelFile`] reads and writes the safetensors files of a PyTorch `nn.Sequential` of `nn.Linear`.
//!
//! Everything that is read is bounded by [`Limits`], and an [`Error`] names the file, the data row (counted
//! from 1) and the column. Cells of features are never quoted in an error, so that a message can be shown
//! to others; labels are.
//!
//! ```
//! use blindsmith_data::{Beyond, ReadOptions, Standardiser, Table};
//!
//! let csv = b"age,dose,outcome\n61,2.5,good\n44,1.0,poor\n57,1.5,good\n";
//! let table = Table::read_bytes("trial.csv", csv, &ReadOptions::labelled("outcome"))?;
//! let data = table.classify(None)?;
//! let standardiser = Standardiser::fit(&data.features, Standardiser::FACTOR, Beyond::Refuse)?;
//! let rows = standardiser.apply(data.features)?;
//! assert_eq!(rows.matrix.shape(), (3, 2));
//! assert!(rows.matrix.as_slice().iter().all(|x| x.abs() <= 1.0));
//! # Ok::<(), blindsmith_data::Error>(())
//! ```

#![forbid(unsafe_code)]
// Instants, decimals and seeking, which only Parquet has.
#![cfg_attr(not(feature = "parquet"), allow(dead_code))]

mod array;
mod cells;
mod choices;
mod classes;
mod collector;
mod columns;
mod csv;
mod dataset;
mod digits;
mod element;
mod error;
mod frame;
mod idx;
mod input;
mod instant;
mod limits;
mod matrix;
mod model;
mod model_file;
mod npy;
mod origin;
#[cfg(feature = "parquet")]
mod parquet;
#[cfg(feature = "parquet")]
mod parquet_footer;
#[cfg(feature = "parquet")]
mod parquet_pages;
mod preprocessing;
mod reading;
mod shuffle;
mod source;
mod standardiser;
mod survey;
mod table;
mod tally;
mod value;
#[cfg(not(feature = "parquet"))]
mod without_parquet;

pub use cells::{Cell, Cells, Values};
pub use choices::{Choices, Imputation, Stand};
pub use classes::Classes;
pub use collector::{LabelColumns, LabelValues};
pub use columns::ColumnRef;
pub use dataset::{Dataset, Targets};
pub use digits::digits;
pub use error::{CellDefect, Error, FileDefect, ModelDefect, Place, Result, SettingDefect};
pub use frame::Frame;
pub use idx::Part;
pub use limits::Limits;
pub use matrix::Matrix;
pub use model::{Linear, Model};
pub use model_file::ModelFile;
pub use origin::Origin;
pub use preprocessing::{ColumnKind, Counted, Filling, InputColumn, Preprocessing};
pub use shuffle::Permutation;
pub use standardiser::{Beyond, Standardised, Standardiser};
pub use table::{Columns, Identifiers, LabelKind, ReadOptions, Table};
