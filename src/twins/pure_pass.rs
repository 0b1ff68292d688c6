//! Twins of Pure-Pass: colour classes, the test of windows, the fusion of grids, and the sort by category.

use crate::kernels::pure_pass::PurePassConfig;

/// Levels 0 to 255 of values in 0..1, floor(255 x + 1/2); values outside are clamped.
pub fn levels(picture: &[f64]) -> Vec<u8> {
    picture.iter().map(|x| (x.clamp(0.0, 1.0) * 255.0 + 0.5).floor() as u8).collect()
}

/// The class of every pixel of `rgb` `[pixels, 3]`: the nearest centre, of equals the first.
pub fn color_labels(rgb: &[u8], config: &PurePassConfig) -> Vec<u32> {
    let centers = config.centers();
    let distance = |pixel: &[u8], center: &[i32; 3]| -> i64 {
        pixel.iter().zip(center).map(|(&level, &c)| (16 * level as i64 - c as i64).pow(2)).sum()
    };
    let nearest = |pixel: &[u8]| (0..centers.len()).min_by_key(|&k| distance(pixel, &centers[k]));
    rgb.chunks_exact(3).map(|pixel| nearest(pixel).expect("a colour") as u32).collect()
}

/// For every pixel, whether its window has one label, `[height, width]`: windows start `offset` pixels before or behind the corner,
/// down and right alike.
pub fn window_grid(labels: &[u32], height: usize, width: usize, window: usize, offset: usize) -> Vec<bool> {
    let cuts = |side: usize| {
        let mut cuts: Vec<usize> = (offset % window..side).step_by(window).chain([0, side]).collect();
        cuts.sort();
        cuts.dedup();
        cuts
    };
    let mut pure = vec![false; labels.len()];
    for rows in cuts(height).windows(2) {
        for columns in cuts(width).windows(2) {
            let places: Vec<usize> = (rows[0]..rows[1])
                .flat_map(|y| (columns[0]..columns[1]).map(move |x| y * width + x))
                .collect();
            let one = places.iter().all(|&place| labels[place] == labels[places[0]]);
            places.iter().for_each(|&place| pure[place] = one);
        }
    }
    pure
}

/// The mask of labels `[height, width]`: pure in the grid from the corner, or in the one half a window further.
pub fn pure_mask(labels: &[u32], height: usize, width: usize, window: usize) -> Vec<bool> {
    let plain = window_grid(labels, height, width, window, 0);
    let shifted = window_grid(labels, height, width, window, window / 2);
    plain.iter().zip(&shifted).map(|(a, b)| *a || *b).collect()
}

/// Elements by category, those of one category in their order; masked ones last.
pub fn category_order(keys: &[u32], mask: Option<&[bool]>) -> Vec<u32> {
    let mut order: Vec<u32> = (0..keys.len() as u32).collect();
    order.sort_by_key(|&i| (mask.is_some_and(|mask| mask[i as usize]), keys[i as usize]));
    if let Some(mask) = mask {
        let active = mask.iter().filter(|hidden| !**hidden).count();
        order[active..].sort();
    }
    order
}
