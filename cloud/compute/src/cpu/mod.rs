//! The product on a processor's vector units.
//!
//! All parts of the result are batches of plain matrix products, one for each root. They are cut into tasks
//! that write disjoint pieces of the result. A task packs a block of the left and a block of the right so
//! that the innermost loop reads both in order from the cache.

use std::cell::RefCell;

use rayon::prelude::*;

use crate::product::{Left, Product};
use crate::row::Row;

mod batch;
pub(crate) mod kernel;
#[cfg(target_arch = "x86_64")]
mod planes;
mod task;

use batch::{Batch, Entries, Lines};
use kernel::Kernel;
#[cfg(target_arch = "x86_64")]
pub(crate) use planes::Memory;
use task::{Scratch, Task};

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Computes the product with the current rayon pool. The sizes have been checked.
pub(crate) fn multiply<K: Kernel>(kernel: K, product: &Product<'_>, add: bool, out: &mut [u64]) {
    multiply_batches(kernel, parts(product, out), add);
}

/// [`multiply`] with matrices of bytes where they gain, or `always`, and vectors for the rest.
#[cfg(target_arch = "x86_64")]
pub(crate) fn multiply_planes(
    amx: kernel::Amx,
    memory: &Memory,
    always: bool,
    product: &Product<'_>,
    add: bool,
    out: &mut [u64],
) {
    let (large, small): (Vec<_>, Vec<_>) =
        parts(product, out).into_iter().partition(|(batch, _)| always || planes::gains(batch));
    for (batch, out) in large {
        planes::multiply(amx, &batch, add, out, memory);
    }
    multiply_batches(amx.vectors(), small, add);
}

fn multiply_batches<K: Kernel>(kernel: K, parts: Vec<(Batch<'_>, &mut [u64])>, add: bool) {
    let mut tasks = Vec::new();
    for (batch, out) in parts {
        batch.cut::<K>(out, &mut tasks);
    }
    tasks.into_par_iter().with_max_len(1).for_each(|mut task: Task<'_, '_>| {
        SCRATCH.with_borrow_mut(|scratch| task.compute(kernel, add, scratch));
    });
}

/// The batches, each with its part of the result.
fn parts<'a, 'o>(product: &Product<'a>, mut out: &'o mut [u64]) -> Vec<(Batch<'a>, &'o mut [u64])> {
    let part = |batch: Batch<'a>| {
        let part = out.split_off_mut(..batch.residues()).expect("the result has all parts");
        (batch, part)
    };
    batches(product).into_iter().map(part).collect()
}

/// C, P, Q, R as batches, in the order of the result.
fn batches<'a>(product: &Product<'a>) -> Vec<Batch<'a>> {
    let (roots, rows) = (product.roots, product.rows);
    let contraction = product.right.len();
    let columns = &product.columns;
    let left = |roots: usize| match product.left {
        Left::Rows(rows) => Entries::Rows { rows, step: roots },
        Left::Transposed(rows) => Entries::Lines(operand(rows, None, roots, 0)),
    };
    let right = |places, roots| operand(product.right, places, roots, columns.start);
    let [left_width, right_width] =
        [product.left_mask_len(), product.right_mask_len()].map(|len| len / roots);

    let mut all = vec![Batch {
        left: left(1),
        right: right(None, 1),
        rows,
        width: columns.len(),
        roots: 0..1,
        depth: contraction,
    }];
    all.extend(product.left_masks.iter().map(|set| Batch {
        left: Entries::Lines(right(Some(set.places), roots)),
        right: Lines::Masks { rows: set.rows, places: None, width: left_width },
        rows: columns.len(),
        width: left_width,
        roots: 0..roots,
        depth: set.places.len(),
    }));
    let Some(masks) = product.right_masks else { return all };
    all.push(Batch {
        left: left(roots),
        right: Lines::Masks { rows: masks, places: None, width: right_width },
        rows,
        width: right_width,
        roots: 0..roots,
        depth: masks.len(),
    });
    for set in product.left_masks {
        all.extend((0..roots).map(|root| Batch {
            left: Entries::Lines(Lines::Masks { rows: set.rows, places: None, width: left_width }),
            right: Lines::Masks { rows: masks, places: Some(set.places), width: right_width },
            rows: left_width,
            width: right_width,
            roots: root..root + 1,
            depth: set.places.len(),
        }));
    }
    all
}

fn operand<'a>(rows: &'a [Row<'a>], places: Option<&'a [u32]>, roots: usize, first: usize) -> Lines<'a> {
    Lines::Operand { rows, places, roots, first }
}
