use super::super::attention::attention;
use super::super::{assert_close, noise};
use super::*;

const SHAPE: AttentionShape = AttentionShape {
    batch: 2,
    query_tokens: 5,
    tokens: 21,
    query_heads: 6,
    kv_heads: 2,
    head_dim: 7,
    value_dim: 3,
};

fn tensors(shape: &AttentionShape) -> [Vec<f64>; 3] {
    let keys = shape.batch * shape.tokens * shape.kv_heads;
    let queries = shape.batch * shape.query_tokens * shape.query_heads;
    [noise(1, queries * shape.head_dim), noise(2, keys * shape.head_dim), noise(3, keys * shape.value_dim)]
}

/// A row by the definition: the intercept b of the weighted ridge regression of v on k - q, from the normal equations in
/// (b, W), which know neither means nor covariances.
fn intercept(query: &[f64], keys: &[&[f64]], values: &[&[f64]], weights: &[f64], ridge: f64) -> Vec<f64> {
    let (size, width) = (query.len() + 1, query.len() + 1 + values[0].len());
    let mut system = vec![vec![0.0; width]; size];
    for ((key, value), weight) in keys.iter().zip(values).zip(weights) {
        let features: Vec<f64> = [1.0].into_iter().chain(key.iter().zip(query).map(|(k, q)| k - q)).collect();
        for (row, feature) in system.iter_mut().zip(&features) {
            let entries = features.iter().chain(*value);
            row.iter_mut().zip(entries).for_each(|(sum, entry)| *sum += weight * feature * entry);
        }
    }
    (1..size).for_each(|i| system[i][i] += ridge);
    for column in 0..size {
        let pivot =
            (column..size).max_by(|a, b| system[*a][column].abs().total_cmp(&system[*b][column].abs()));
        system.swap(column, pivot.unwrap());
        let row = system[column].clone();
        for (other, below) in system.iter_mut().enumerate().filter(|(other, _)| *other != column) {
            let factor = below[column] / row[column];
            assert!(factor.is_finite(), "row {other}");
            below.iter_mut().zip(&row).for_each(|(x, pivot)| *x -= factor * pivot);
        }
    }
    system[0][size..].iter().map(|right| right / system[0][0]).collect()
}

/// Every row by the definition.
fn regression(data: &[Vec<f64>; 3], shape: &AttentionShape, options: &LlaOptions) -> Vec<f64> {
    let [query, key, value] = data;
    let scale = options.scale.unwrap_or(1.0 / (shape.head_dim as f64).sqrt());
    let offset = options.q_offset.unwrap_or(shape.tokens as i64 - shape.query_tokens as i64);
    let group = shape.query_heads / shape.kv_heads;
    let mut out = Vec::new();
    for b in 0..shape.batch {
        for row in 0..shape.query_tokens {
            for head in 0..shape.query_heads {
                let q =
                    vector(query, (b * shape.query_tokens + row) * shape.query_heads + head, shape.head_dim);
                let (mut keys, mut values, mut weights) = (Vec::new(), Vec::new(), Vec::new());
                for s in 0..shape.tokens {
                    let causal = !options.causal || s as i64 <= row as i64 + offset;
                    if causal && options.mask.is_none_or(|mask| mask[row * shape.tokens + s]) {
                        let at = (b * shape.tokens + s) * shape.kv_heads + head / group;
                        let k = vector(key, at, shape.head_dim);
                        let bias = options.key_bias.map_or(0.0, |bias| bias[b * shape.tokens + s]);
                        let score: f64 = q.iter().zip(k).map(|(q, k)| q * k).sum();
                        keys.push(k);
                        values.push(vector(value, at, shape.value_dim));
                        weights.push((scale * score + bias).exp());
                    }
                }
                let sum: f64 = weights.iter().sum();
                weights.iter_mut().for_each(|weight| *weight /= sum);
                match keys.len() {
                    0 => out.extend(vec![0.0; shape.value_dim]),
                    _ => out.extend(intercept(q, &keys, &values, &weights, options.ridge)),
                }
            }
        }
    }
    out
}

fn direct(data: &[Vec<f64>; 3], shape: &AttentionShape, options: &LlaOptions) -> LlaResult {
    flash_lla(&data[0], &data[1], &data[2], shape, options)
}

fn iterated(data: &[Vec<f64>; 3], shape: &AttentionShape, options: &LlaOptions, most: usize) -> LlaResult {
    flash_lla_cg(&data[0], &data[1], &data[2], shape, options, 1e-12, most)
}

#[test]
fn two_keys_by_hand() {
    let shape = AttentionShape {
        batch: 1,
        query_tokens: 1,
        tokens: 2,
        query_heads: 1,
        kv_heads: 1,
        head_dim: 1,
        value_dim: 1,
    };
    let data = [vec![2.0], vec![0.0, 3f64.ln()], vec![1.0, 5.0]];
    let (k, l) = (3f64.ln(), 0.25);
    // Weights 1/10 and 9/10: mean key 0.9 k, variance 0.09 k², covariance with the values 0.36 k, mean value 4.6.
    let options = LlaOptions { scale: Some(1.0), ridge: l, ..Default::default() };
    let beta = (0.9 * k - 2.0) / (0.09 * k * k + l);
    let found = direct(&data, &shape, &options);
    assert_close(&found.beta, &[beta], 1e-14);
    assert_close(&found.out, &[4.6 - 0.36 * k * beta], 1e-14);
    assert_close(&found.lse, &[10f64.ln()], 1e-14);
    assert_close(&found.eta, &[(0.9 * k - 2.0) * beta], 1e-14);
    // The line through both points, and λ at a thousandth of the variance for the ridge that is missing.
    let line = LlaOptions { ridge: 0.0, ridge_floor: 0.0, singular_floor: false, ..options };
    assert_close(&direct(&data, &shape, &line).out, &[1.0 + 2.0 * 4.0 / k], 1e-13);
    // Two keys are more than one dimension, so the kernels take it too.
    assert_eq!(direct(&data, &shape, &LlaOptions { singular_floor: true, ..line }).status, [0]);
}

#[test]
fn equals_the_regression_of_the_definition_for_every_head_map_and_mask() {
    let shown: Vec<bool> = noise(4, 5 * 21).iter().map(|x| *x > -0.4).collect();
    let bias = noise(5, 2 * 21);
    for (query_heads, kv_heads) in [(6, 2), (3, 3), (4, 1)] {
        let shape = AttentionShape { query_heads, kv_heads, ..SHAPE };
        let data = tensors(&shape);
        for (causal, q_offset, scale, ridge) in
            [(false, None, None, 0.1), (true, None, Some(-0.5), 1e-3), (true, Some(1), Some(2.0), 2.0)]
        {
            let base = LlaOptions { causal, q_offset, scale, ridge, ridge_floor: 0.0, ..Default::default() };
            let masked = LlaOptions { mask: Some(&shown), key_bias: Some(&bias), ..base };
            for options in [base, masked] {
                let options = LlaOptions { singular_floor: false, ..options };
                let expected = regression(&data, &shape, &options);
                let found = direct(&data, &shape, &options);
                assert_close(&found.out, &expected, 1e-9);
                let cg = iterated(&data, &shape, &options, 200);
                assert_close(&cg.out, &expected, 1e-8);
                assert_eq!((cg.lse, cg.status), (found.lse.clone(), found.status));
                let dense = AttentionMask { causal, q_offset: q_offset.unwrap_or(16), ..Default::default() };
                if options.mask.is_none() {
                    let scale = scale.unwrap_or(7f64.powf(-0.5));
                    let softmax = attention(&data[0], &data[1], &data[2], &shape, &dense, None, scale);
                    assert_close(&found.lse, &softmax.lse, 1e-13);
                }
            }
        }
    }
}

#[test]
fn no_iteration_and_a_huge_ridge_are_softmax_attention() {
    let data = tensors(&SHAPE);
    let mask = AttentionMask { causal: true, q_offset: 16, ..Default::default() };
    let softmax = attention(&data[0], &data[1], &data[2], &SHAPE, &mask, None, 7f64.powf(-0.5));
    let options = LlaOptions { causal: true, ..Default::default() };
    let none = iterated(&data, &SHAPE, &options, 0);
    assert_close(&none.out, &softmax.out, 1e-14);
    assert!(none.status.iter().all(|status| *status == NOT_CONVERGED) && none.iterations == [0; 60]);
    let huge = LlaOptions { ridge: 1e9, ..options };
    assert_close(&direct(&data, &SHAPE, &huge).out, &softmax.out, 1e-8);
    let probe =
        lla_probe(&data[0], &data[1], &data[2], &vec![0.0; data[0].len()], &SHAPE, &LlaOptions { ..options });
    assert_close(&probe.out, &softmax.out, 1e-14);
}

#[test]
fn a_solution_needs_at_most_as_many_iterations_as_dimensions() {
    let data = tensors(&SHAPE);
    let options = LlaOptions { ridge: 0.05, ..Default::default() };
    let exact = direct(&data, &SHAPE, &options);
    let found = iterated(&data, &SHAPE, &options, 200);
    assert_close(&found.beta, &exact.beta, 1e-8);
    assert!(found.iterations.iter().all(|count| (1..=10).contains(count)), "{:?}", found.iterations);
    let cut = iterated(&data, &SHAPE, &options, 3);
    assert!(cut.status.iter().all(|status| *status == NOT_CONVERGED) && cut.iterations == [3; 60]);
    let given = lla_probe(&data[0], &data[1], &data[2], &exact.beta, &SHAPE, &options);
    assert_close(&given.out, &exact.out, 1e-14);
}

/// 4 keys in 7 dimensions: a value that is linear in the key comes back at the projection of q on the keys' hull.
#[test]
fn few_keys_without_a_ridge_interpolate_on_their_hull() {
    let shape = AttentionShape { tokens: 4, value_dim: 7, ..SHAPE };
    let [query, key, _] = tensors(&shape);
    let data = [query, key.clone(), key];
    let options = LlaOptions { ridge: 0.0, ridge_floor: 0.0, singular_floor: false, ..Default::default() };
    let found = direct(&data, &shape, &options);
    assert!(found.status.iter().all(|status| *status == SINGULAR));
    for (index, out) in found.out.chunks_exact(7).enumerate() {
        let (b, head) = (index / 30, index % 6 / 3);
        let k = |s: usize| vector(&data[1], (b * 4 + s) * 2 + head, 7);
        let rest = difference(vector(&data[0], index, 7), out);
        for s in 1..4 {
            let edge = difference(k(s), k(0));
            assert!(dot(&rest, &edge).abs() < 1e-9, "row {index}: not a projection");
        }
    }
    let small = LlaOptions { ridge: 1e-9, ..options };
    assert_close(&direct(&data, &shape, &small).out, &found.out, 1e-5);
    assert_close(&lla_decode(&data[0], &data[1], &data[2], &shape, &options, 2).out, &found.out, 1e-9);

    // As the kernels do it: a ridge of 1e-3 of the mean variance, and the status says so.
    let floored = direct(&data, &shape, &LlaOptions { singular_floor: true, ..options });
    let wanted = LlaOptions { ridge_floor: 1e-3, ..options };
    assert_close(&floored.out, &direct(&data, &shape, &wanted).out, 1e-12);
    assert!(floored.status.iter().all(|status| *status == SINGULAR));
}

#[test]
fn rows_without_a_key_or_with_a_nan_give_zero_and_say_why() {
    let [query, mut key, value] = tensors(&SHAPE);
    let options = LlaOptions { causal: true, q_offset: Some(-2), ..Default::default() };
    key[(21 + 1) * 2 * 7 + 3] = f64::NAN; // sequence 1, key 1, head 0
    let data = [query, key, value];
    for found in [direct(&data, &SHAPE, &options), iterated(&data, &SHAPE, &options, 50)] {
        for index in 0..60 {
            let (b, row, head) = (index / 30, index / 6 % 5, index % 6 / 3);
            let expected = match (b, row, head) {
                (_, 0 | 1, _) => EMPTY,
                (1, 3.., 0) => NON_FINITE,
                _ => 0,
            };
            assert_eq!(found.status[index], expected, "row {index}");
            let nothing = expected != 0;
            assert_eq!(found.lse[index] == f64::NEG_INFINITY, nothing, "row {index}");
            assert_eq!(found.out[index * 3..][..3] == [0.0; 3], nothing, "row {index}");
        }
    }
}

#[test]
fn one_key_gives_its_value_and_no_gradient_no_iteration() {
    let shape = AttentionShape { tokens: 1, ..SHAPE };
    let data = tensors(&shape);
    for ridge in [0.0, 0.1] {
        let options = LlaOptions { ridge, ..Default::default() };
        for (index, out) in direct(&data, &shape, &options).out.chunks_exact(3).enumerate() {
            let value = vector(&data[2], index / 30 * 2 + index % 6 / 3, 3);
            assert_close(out, value, 1e-12);
        }
    }
    let at_mean = [vec![0.0; data[0].len()], vec![0.0; data[1].len()], data[2].clone()];
    let found = iterated(&at_mean, &shape, &LlaOptions::default(), 9);
    assert!(found.iterations.iter().chain(&found.status).all(|x| *x == 0));
}

#[test]
fn sampled_rows_equal_those_of_the_whole() {
    let data = tensors(&SHAPE);
    let shown: Vec<bool> = noise(6, 5 * 21).iter().map(|x| *x > -0.6).collect();
    let options = LlaOptions { causal: true, mask: Some(&shown), ..Default::default() };
    let whole = direct(&data, &SHAPE, &options);
    let rows = [4, 0, 3];
    let found = flash_lla_rows(&data[0], &data[1], &data[2], &SHAPE, &options, &rows);
    for index in 0..36 {
        let from = (index / 18 * 5 + rows[index / 6 % 3]) * 6 + index % 6;
        assert_eq!((found.lse[index], found.status[index]), (whole.lse[from], whole.status[from]));
        assert_eq!(vector(&found.out, index, 3), vector(&whole.out, from, 3));
        assert_eq!(vector(&found.beta, index, 7), vector(&whole.beta, from, 7));
    }
}

/// However the keys are cut, and in whatever order their statistics merge.
#[test]
fn split_statistics_merge_to_the_whole() {
    let data = tensors(&SHAPE);
    let bias = noise(7, 2 * 21).iter().map(|x| 30.0 * x).collect::<Vec<_>>();
    let options = LlaOptions { causal: true, key_bias: Some(&bias), ridge: 1e-2, ..Default::default() };
    let whole = direct(&data, &SHAPE, &options);
    for splits in [1, 2, 5, 40] {
        let found = lla_decode(&data[0], &data[1], &data[2], &SHAPE, &options, splits);
        assert_close(&found.out, &whole.out, 1e-10);
        assert_close(&found.lse, &whole.lse, 1e-12);
        assert_close(&found.beta, &whole.beta, 1e-10);
        assert_eq!(found.status, whole.status);
    }
    let one = |s: usize| LlaState::one(vector(&data[1], s, 7), vector(&data[2], s, 3), 50.0 * data[0][s]);
    let [a, b, c] = [0, 3, 6].map(|first| (first..first + 3).map(one).reduce(|a, b| a.merge(&b)).unwrap());
    for (left, right) in [(a.merge(&b).merge(&c), a.merge(&b.merge(&c))), (a.merge(&c), c.merge(&a))] {
        assert_eq!((left.keys, left.maximum), (right.keys, right.maximum));
        for (left, right) in [
            (&left.mean_key, &right.mean_key),
            (&left.mean_value, &right.mean_value),
            (&left.key_key, &right.key_key),
            (&left.value_key, &right.value_key),
        ] {
            assert_close(left, right, 1e-14);
        }
    }
}
