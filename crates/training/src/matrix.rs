//! Matrix products (GEMM) over slices, transposed or not. Each element of the result is one sum that is never
//! split between threads, so that the same product is bit-identical every time.
#![allow(unsafe_code, reason = "the product of matrices takes pointers; what it may touch is checked here")]

use gemm::Parallelism;

/// A matrix in a slice, with its row and column strides.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    numbers: &'a [f32],
    rows: usize,
    columns: usize,
    to_row: usize,
    to_column: usize,
}

/// Whether a product overwrites the output or is added to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Into {
    Place,
    Sum,
}

/// Who computes a product: the whole thread pool, or the calling thread, which then is one of many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    All,
    One,
}

impl<'a> View<'a> {
    /// A row-major matrix.
    pub(super) fn new(numbers: &'a [f32], columns: usize) -> Self {
        let rows = numbers.len().checked_div(columns).unwrap_or(0);
        Self { numbers, rows, columns, to_row: columns, to_column: 1 }
    }

    /// The transposed matrix.
    pub(super) const fn transposed(self) -> Self {
        let Self { numbers, rows, columns, to_row, to_column } = self;
        Self { numbers, rows: columns, columns: rows, to_row: to_column, to_column: to_row }
    }

    const fn is_within(&self) -> bool {
        if self.rows == 0 || self.columns == 0 {
            return true;
        }
        (self.rows - 1) * self.to_row + (self.columns - 1) * self.to_column < self.numbers.len()
    }
}

/// `scale * one * other`, row-major.
pub(super) fn multiply((out, into): (&mut [f32], Into), one: View<'_>, other: View<'_>, scale: f32, by: By) {
    let (rows, inner, columns) = (one.rows, one.columns, other.columns);
    let fits = inner == other.rows && out.len() == rows * columns && one.is_within() && other.is_within();
    debug_assert!(fits, "{rows} x {inner} by {} x {columns} into {}", other.rows, out.len());
    if !fits || out.is_empty() {
        return;
    }
    if inner == 0 {
        if into == Into::Place {
            out.fill(0.0);
        }
        return;
    }
    let threads = if by == By::All { Parallelism::Rayon(0) } else { Parallelism::None };
    let step = |length: usize| length as isize;
    // SAFETY: the last number of each matrix is within its slice, as checked above; `out` has `rows *
    // columns` numbers, and is borrowed exclusively.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            inner,
            out.as_mut_ptr(),
            1,
            step(columns),
            into == Into::Sum,
            one.numbers.as_ptr(),
            step(one.to_column),
            step(one.to_row),
            other.numbers.as_ptr(),
            step(other.to_column),
            step(other.to_row),
            1.0,
            scale,
            false,
            false,
            false,
            threads,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_is_what_it_should_be_in_every_direction() {
        let numbers = |count: usize, of: usize| -> Vec<f32> {
            (0..count).map(|index| ((index * 37 + of * 11) % 23) as f32 - 11.0).collect()
        };
        for (rows, inner, columns) in [(1, 1, 1), (3, 5, 2), (17, 33, 40), (64, 0, 3), (0, 4, 4)] {
            let (one, other) = (numbers(rows * inner, 1), numbers(inner * columns, 2));
            let turned = |numbers: &[f32], rows: usize, columns: usize| -> Vec<f32> {
                (0..columns)
                    .flat_map(|column| (0..rows).map(move |row| row * columns + column))
                    .map(|at| numbers[at])
                    .collect()
            };
            let (one_turned, other_turned) = (turned(&one, rows, inner), turned(&other, inner, columns));
            let wanted: Vec<f32> = (0..rows * columns)
                .map(|at| {
                    let (row, column) = (at / columns, at % columns);
                    (0..inner).map(|k| one[row * inner + k] * other[k * columns + column]).sum::<f32>() * 2.0
                })
                .collect();
            // A view of no numbers can't tell how many rows it has.
            if inner == 0 {
                continue;
            }
            for (one, other) in [
                (View::new(&one, inner), View::new(&other, columns)),
                (View::new(&one_turned, rows).transposed(), View::new(&other_turned, inner).transposed()),
            ] {
                if rows == 0 {
                    continue;
                }
                for by in [By::All, By::One] {
                    let mut out = vec![7.0; rows * columns];
                    multiply((&mut out, Into::Place), one, other, 2.0, by);
                    assert_eq!(out, wanted);
                    multiply((&mut out, Into::Sum), one, other, 2.0, by);
                    assert_eq!(out, wanted.iter().map(|number| number * 2.0).collect::<Vec<_>>());
                }
            }
        }
    }
}
