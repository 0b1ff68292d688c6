//! Twins of the normalisation kernels; each row of `width` elements by itself.

/// y = x / √(mean(x²) + epsilon) · weight. x `[rows, width]`, weight `[width]` (none: 1).
pub fn rms_norm(x: &[f64], weight: Option<&[f64]>, width: usize, epsilon: f64) -> Vec<f64> {
    layer(x, weight, None, width, |row| (0.0, mean(row.iter().map(|x| x * x)) + epsilon))
}

/// y = (x - mean(x)) / √(variance(x) + epsilon) · weight + bias, the variance divided by `width`.
/// x `[rows, width]`, weight and bias `[width]` (none: 1 and 0).
pub fn layer_norm(
    x: &[f64],
    weight: Option<&[f64]>,
    bias: Option<&[f64]>,
    width: usize,
    epsilon: f64,
) -> Vec<f64> {
    layer(x, weight, bias, width, |row| {
        let centre = mean(row.iter().copied());
        (centre, mean(row.iter().map(|x| (x - centre) * (x - centre))) + epsilon)
    })
}

/// (x - centre) / √spread · weight + bias with the (centre, spread) of each row.
fn layer(
    x: &[f64],
    weight: Option<&[f64]>,
    bias: Option<&[f64]>,
    width: usize,
    statistics: impl Fn(&[f64]) -> (f64, f64),
) -> Vec<f64> {
    assert!(x.len().is_multiple_of(width), "x: {} elements in rows of {width}", x.len());
    assert!(weight.is_none_or(|w| w.len() == width), "weight");
    assert!(bias.is_none_or(|b| b.len() == width), "bias");
    let mut y = Vec::with_capacity(x.len());
    for row in x.chunks_exact(width) {
        let (centre, spread) = statistics(row);
        for (i, x) in row.iter().enumerate() {
            let scaled = (x - centre) / spread.sqrt() * weight.map_or(1.0, |w| w[i]);
            y.push(scaled + bias.map_or(0.0, |b| b[i]));
        }
    }
    y
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

#[cfg(test)]
mod tests {
    use super::super::{assert_close, noise};
    use super::*;

    #[test]
    fn rms_norm_by_hand() {
        // mean of squares 12.5 and 1
        let y = rms_norm(&[3.0, 4.0, 1.0, -1.0], Some(&[2.0, 0.5]), 2, 0.0);
        let root = 12.5f64.sqrt();
        assert_close(&y, &[6.0 / root, 2.0 / root, 2.0, -0.5], 1e-15);
        assert_close(&rms_norm(&[3.0, 4.0], None, 2, 12.5), &[0.6, 0.8], 1e-15);
    }

    #[test]
    fn layer_norm_by_hand() {
        // mean 5, variance 4
        let x = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
        let expected = [-1.5, -0.5, -0.5, -0.5, 0.0, 0.0, 1.0, 2.0];
        assert_close(&layer_norm(&x, None, None, 8, 0.0), &expected, 1e-15);
        let y = layer_norm(&x, Some(&[2.0; 8]), Some(&[1.0; 8]), 8, 0.0);
        assert_close(&y, &expected.map(|e| 2.0 * e + 1.0), 1e-15);
    }

    #[test]
    fn a_constant_row_gives_the_bias_and_a_zero_row_gives_zero() {
        assert_close(&layer_norm(&[3.0; 4], Some(&[5.0; 4]), Some(&[0.25; 4]), 4, 1e-6), &[0.25; 4], 0.0);
        assert_close(&rms_norm(&[0.0; 4], None, 4, 1e-6), &[0.0; 4], 0.0);
    }

    #[test]
    fn rows_do_not_see_each_other_and_scale_drops_out() {
        let (rows, width) = (3, 17);
        let x = noise(3, rows * width);
        let scaled: Vec<f64> = x.iter().map(|x| 8.0 * x).collect();
        for row in 0..rows {
            let part = layer_norm(&scaled[row * width..][..width], None, None, width, 0.0);
            assert_close(&layer_norm(&x, None, None, width, 0.0)[row * width..][..width], &part, 1e-13);
            let part = rms_norm(&scaled[row * width..][..width], None, width, 0.0);
            assert_close(&rms_norm(&x, None, width, 0.0)[row * width..][..width], &part, 1e-13);
        }
    }
}
