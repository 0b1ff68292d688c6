//! Twin of token merging by similarity (ToMe, arXiv 2210.09461), one sequence at a time.

/// A bipartite matching.
#[derive(Clone, Debug, PartialEq)]
pub struct TomeMatching {
    /// Sources in the order in which they are merged: numbers among the tokens at even places.
    pub merged: Vec<u32>,
    /// Sources that keep their rows.
    pub kept: Vec<u32>,
    /// The best destination of every source: numbers among the tokens at odd places.
    pub matches: Vec<u32>,
    /// The cosine with it.
    pub scores: Vec<f64>,
}

/// The `removed` sources that are most similar to their best destination: metric `[tokens, width]`.
pub fn tome_match(metric: &[f64], width: usize, removed: usize, class_token: bool) -> TomeMatching {
    let rows: Vec<Vec<f64>> = metric
        .chunks_exact(width)
        .map(|row| {
            let length = row.iter().map(|value| value * value).sum::<f64>().max(1e-30).sqrt();
            row.iter().map(|value| value / length).collect()
        })
        .collect();
    let removed = removed.min((rows.len() - class_token as usize) / 2);
    let cosine = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let mut matches = Vec::new();
    let mut scores = Vec::new();
    for source in rows.iter().step_by(2) {
        let (mut best, mut chosen) = (f64::NEG_INFINITY, 0);
        for (destination, row) in rows.iter().skip(1).step_by(2).enumerate() {
            let score = cosine(source, row);
            if score > best {
                (best, chosen) = (score, destination as u32);
            }
        }
        matches.push(chosen);
        scores.push(best);
    }
    if class_token {
        scores[0] = f64::NEG_INFINITY;
    }
    let mut order: Vec<u32> = (0..scores.len() as u32).collect();
    order.sort_by(|a, b| scores[*b as usize].total_cmp(&scores[*a as usize]).then(a.cmp(b)));
    let mut kept = order.split_off(removed);
    if class_token {
        kept.sort();
    }
    TomeMatching { merged: order, kept, matches, scores }
}

/// Rows left of x `[tokens, width]` and the tokens each stands for: kept sources, then destinations with what was merged into them.
pub fn tome_merge(x: &[f64], sizes: &[f64], width: usize, matching: &TomeMatching) -> (Vec<f64>, Vec<f64>) {
    let row = |token: usize| &x[token * width..(token + 1) * width];
    let mut rows: Vec<f64> =
        matching.kept.iter().flat_map(|source| row(2 * *source as usize).to_vec()).collect();
    let mut new_sizes: Vec<f64> = matching.kept.iter().map(|source| sizes[2 * *source as usize]).collect();
    for destination in 0..sizes.len() / 2 {
        let token = 2 * destination + 1;
        let mut size = sizes[token];
        let mut sum: Vec<f64> = row(token).iter().map(|value| value * size).collect();
        for source in matching.merged.iter().map(|source| *source as usize) {
            if matching.matches[source] as usize == destination {
                let weight = sizes[2 * source];
                sum.iter_mut().zip(row(2 * source)).for_each(|(sum, value)| *sum += weight * value);
                size += weight;
            }
        }
        rows.extend(sum.iter().map(|sum| sum / size));
        new_sizes.push(size);
    }
    (rows, new_sizes)
}

/// The row that stands for each of `tokens`.
pub fn tome_map(tokens: usize, matching: &TomeMatching) -> Vec<u32> {
    let kept = matching.kept.len() as u32;
    let mut map: Vec<u32> = (0..tokens as u32).map(|token| kept + token / 2).collect();
    for source in &matching.merged {
        map[2 * *source as usize] = kept + matching.matches[*source as usize];
    }
    for (place, source) in matching.kept.iter().enumerate() {
        map[2 * *source as usize] = place as u32;
    }
    map
}
