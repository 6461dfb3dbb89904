//! The product on a processor's vector units.

use std::cell::RefCell;

use rayon::prelude::*;

use crate::{Orientation, Product};

mod ahead;
mod deliver;
pub(crate) mod kernel;
mod plan;
mod side;
mod task;
mod transform;

use deliver::Delivery;
use kernel::{Kernel, MAX_ROWS};
use plan::{Plan, part};
use side::Side;
use task::{Scratch, Task};

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// A product as the loops see it: a side with few outer indices has the columns, for rows are packed once and
/// used at once.
struct Job<'a> {
    rows: Side<'a>,
    cols: Side<'a>,
    /// Rows are the columns of the result.
    swapped: bool,
    plan: Plan,
}

/// Computes the product with the current rayon pool.
pub(crate) fn multiply<K: Kernel>(kernel: K, product: &Product<'_>, accumulate: bool, out: &mut [u64]) {
    assert_eq!(out.len(), product.layout.len(), "the buffer is of the length of the layout");
    let left = Side::new(&product.a, product.orientation == Orientation::WeightGradient);
    let right = Side::new(&product.b, product.orientation == Orientation::InputGradient);
    let swapped = left.outer() <= MAX_ROWS && left.outer() < right.outer();
    let (rows, cols) = if swapped { (right, left) } else { (left, right) };
    let points = product.a.points;
    let plan = Plan::new::<K>(points, product.output, &rows, &cols);
    let job = Job { rows, cols, swapped, plan };

    let delivery = Delivery::new(product, accumulate, out);
    let (row_blocks, col_blocks) = (job.plan.row_blocks, job.plan.col_blocks);
    (0..job.plan.blocks * row_blocks * col_blocks).into_par_iter().for_each(|index| {
        let (block, within) = (index / (row_blocks * col_blocks), index % (row_blocks * col_blocks));
        let units = block * job.plan.units_per_block..(block + 1) * job.plan.units_per_block;
        let rows = part(job.rows.outer(), row_blocks, within / col_blocks);
        let cols = part(job.cols.outer(), col_blocks, within % col_blocks);
        let task = Task { kernel, job: &job, units, rows, cols };
        SCRATCH.with_borrow_mut(|scratch| {
            task.compute(scratch);
            delivery.take(&task, scratch);
        });
    });
    delivery.complete();
}
