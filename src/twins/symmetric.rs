//! Symmetric systems in f64, for the twins that solve one per row and for principal components.

use super::attention::dot;

/// A pivot or an eigenvalue below this share of the largest is rounding.
const ROUNDING: f64 = 1e-12;

/// The solution x of (matrix + ridge I) x = right, and whether the matrix has a rank below its size.
///
/// `matrix` is row-major, symmetric and positive semi-definite. Where matrix + ridge I is singular to rounding, x is the limit
/// of a falling ridge on the part that the matrix reaches, and 0 on the rest; the rank is told there alone.
pub(super) fn solve(matrix: &[f64], ridge: f64, right: &[f64]) -> (Vec<f64>, bool) {
    if ridge > 0.0
        && let Some(x) = cholesky(&with_ridge(matrix, ridge, right.len()), right)
    {
        return (x, false);
    }
    let (values, vectors) = eigen(matrix, right.len());
    let least = ROUNDING * values.iter().copied().fold(0.0, f64::max);
    let mut x = vec![0.0; right.len()];
    let mut full = true;
    for (value, vector) in values.iter().zip(vectors.chunks_exact(right.len())) {
        if *value > least {
            add_scaled(&mut x, dot(vector, right) / (value + ridge), vector);
        } else {
            full = false;
        }
    }
    (x, !full)
}

/// matrix + ridge I.
pub(super) fn with_ridge(matrix: &[f64], ridge: f64, size: usize) -> Vec<f64> {
    let mut sum = matrix.to_vec();
    sum.iter_mut().step_by(size + 1).for_each(|diagonal| *diagonal += ridge);
    sum
}

/// sum += factor · vector.
pub(super) fn add_scaled(sum: &mut [f64], factor: f64, vector: &[f64]) {
    sum.iter_mut().zip(vector).for_each(|(sum, element)| *sum += factor * element);
}

/// The solution through a Cholesky factor; `None` where a pivot is not positive beyond rounding.
fn cholesky(matrix: &[f64], right: &[f64]) -> Option<Vec<f64>> {
    let size = right.len();
    let largest = matrix.iter().step_by(size + 1).copied().fold(0.0, f64::max);
    let mut lower = matrix.to_vec();
    let mut x = right.to_vec();
    for row in 0..size {
        for column in 0..=row {
            let known = dot(&lower[row * size..][..column], &lower[column * size..][..column]);
            let rest = matrix[row * size + column] - known;
            if column < row {
                lower[row * size + column] = rest / lower[column * size + column];
            } else if rest > ROUNDING * largest {
                lower[row * size + row] = rest.sqrt();
            } else {
                return None;
            }
        }
        x[row] = (x[row] - dot(&lower[row * size..][..row], &x[..row])) / lower[row * size + row];
    }
    for row in (0..size).rev() {
        let known: f64 = (row + 1..size).map(|below| lower[below * size + row] * x[below]).sum();
        x[row] = (x[row] - known) / lower[row * size + row];
    }
    Some(x)
}

/// Eigenvalues and orthonormal eigenvectors, one in a row, by Jacobi rotations in cyclic order.
pub(crate) fn eigen(matrix: &[f64], size: usize) -> (Vec<f64>, Vec<f64>) {
    let mut a = matrix.to_vec();
    let mut vectors = with_ridge(&vec![0.0; size * size], 1.0, size);
    let total: f64 = a.iter().map(|x| x * x).sum();
    for _sweep in 0..60 {
        let outside: f64 = (0..size * size).filter(|i| i % (size + 1) != 0).map(|i| a[i] * a[i]).sum();
        if outside <= 1e-30 * total {
            break;
        }
        for p in 0..size {
            for q in p + 1..size {
                let slope = (a[q * size + q] - a[p * size + p]) / (2.0 * a[p * size + q]);
                if !slope.is_finite() {
                    continue;
                }
                let tangent = slope.signum() / (slope.abs() + slope.hypot(1.0));
                let cosine = 1.0 / tangent.hypot(1.0);
                let sine = tangent * cosine;
                let rotate = |values: &mut [f64], p: usize, q: usize| {
                    let (x, y) = (values[p], values[q]);
                    (values[p], values[q]) = (cosine * x - sine * y, sine * x + cosine * y);
                };
                for i in 0..size {
                    rotate(&mut a, p * size + i, q * size + i);
                    rotate(&mut vectors, p * size + i, q * size + i);
                }
                for i in 0..size {
                    rotate(&mut a, i * size + p, i * size + q);
                }
            }
        }
    }
    (a.iter().step_by(size + 1).copied().collect(), vectors)
}

#[cfg(test)]
mod tests {
    use super::super::{assert_close, noise};
    use super::*;

    /// Σ x xᵀ over `count` random x.
    fn gram(seed: u64, count: usize, size: usize) -> Vec<f64> {
        let mut sum = vec![0.0; size * size];
        for x in noise(seed, count * size).chunks_exact(size) {
            for (i, &element) in x.iter().enumerate() {
                add_scaled(&mut sum[i * size..][..size], element, x);
            }
        }
        sum
    }

    fn product(matrix: &[f64], x: &[f64]) -> Vec<f64> {
        matrix.chunks_exact(x.len()).map(|row| dot(row, x)).collect()
    }

    #[test]
    fn a_positive_definite_system_is_solved_both_ways() {
        for size in [1, 2, 5, 19] {
            let (matrix, wanted) = (gram(1, 2 * size, size), noise(2, size));
            for ridge in [0.0, 0.3] {
                let right = product(&with_ridge(&matrix, ridge, size), &wanted);
                let (x, deficient) = solve(&matrix, ridge, &right);
                assert_close(&x, &wanted, 1e-10);
                assert!(!deficient);
            }
        }
    }

    #[test]
    fn eigenvectors_are_orthonormal_and_rebuild_the_matrix() {
        let size = 13;
        let matrix = gram(3, 6, size);
        let (values, vectors) = eigen(&matrix, size);
        let mut rebuilt = vec![0.0; size * size];
        for (value, vector) in values.iter().zip(vectors.chunks_exact(size)) {
            for (i, &element) in vector.iter().enumerate() {
                add_scaled(&mut rebuilt[i * size..][..size], value * element, vector);
            }
        }
        assert_close(&rebuilt, &matrix, 1e-13);
        let products: Vec<f64> =
            vectors.chunks_exact(size).flat_map(|vector| product(&vectors, vector)).collect();
        assert_close(&products, &with_ridge(&vec![0.0; size * size], 1.0, size), 1e-13);
        assert_eq!(values.iter().filter(|value| **value > 1e-12).count(), 6);
    }

    /// The least-norm solution, which any small ridge approaches.
    #[test]
    fn a_singular_system_gives_the_limit_of_a_falling_ridge() {
        let size = 9;
        let (matrix, right) = (gram(4, 4, size), noise(5, size));
        let (limit, deficient) = solve(&matrix, 0.0, &right);
        assert!(deficient);
        let (small, _) = solve(&matrix, 1e-7, &right);
        assert_close(&product(&matrix, &limit), &product(&matrix, &small), 1e-5);
        let (zero, deficient) = solve(&vec![0.0; size * size], 0.0, &right);
        assert!(deficient && zero.iter().all(|x| *x == 0.0));
    }
}
