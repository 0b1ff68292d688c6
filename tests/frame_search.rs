//! Frames that look for each other: what was seen before is found again.

mod common;

use common::gpu;
use gristmill::models::frame_search::{
    FRAME_SIDE, FRAME_TOKENS, FrameSearch, FrameSearchConfig, FrameTokens, PATCHES,
};
use gristmill::no_progress;

const FRAMES: usize = 12;

/// Four quarters, each of one random patch again and again; others for every seed.
fn texture(seed: u32) -> Vec<f32> {
    let value = |at: usize| {
        let (y, x, colour) = (at / 3 / FRAME_SIDE, at / 3 % FRAME_SIDE, at % 3);
        let quarter = y * 2 / FRAME_SIDE * 2 + x * 2 / FRAME_SIDE;
        // A patch has cells of 2 x 2 pixels.
        let cell = (y % 8 / 2 * 4 + x % 8 / 2) * 3 + colour;
        let mut mixed = (seed * 4 + quarter as u32) * 48 + cell as u32;
        for _ in 0..3 {
            mixed = (mixed ^ (mixed >> 15)).wrapping_mul(0x2c1b_3c6d).wrapping_add(0x9e37_79b9);
        }
        (mixed >> 8) as f32 / (1 << 24) as f32
    };
    (0..FRAME_SIDE * FRAME_SIDE * 3).map(value).collect()
}

/// Frames of different textures; the upper left quarter of frame 4 is shown again by the last frame, at the lower right.
fn film() -> Vec<f32> {
    let mut frames: Vec<Vec<f32>> = (0..FRAMES as u32).map(texture).collect();
    let half = FRAME_SIDE / 2;
    for y in 0..half {
        let part = frames[4][y * FRAME_SIDE * 3..][..half * 3].to_vec();
        let start = ((y + half) * FRAME_SIDE + half) * 3;
        frames[FRAMES - 1][start..start + half * 3].copy_from_slice(&part);
    }
    frames.concat()
}

#[test]
fn a_part_that_was_seen_before_is_found_in_its_frame() {
    let gpu = gpu();
    let tokens = FrameTokens::new(&film()).unwrap();
    let config = FrameSearchConfig { top_n: 3, window: 70, ..Default::default() };
    let search = FrameSearch::new(gpu, &tokens, &config).unwrap();
    for plan in [&search.sparse, &search.dense] {
        plan.poison();
        pollster::block_on(plan.run(no_progress)).unwrap();
    }
    let selection = pollster::block_on(search.selection(gpu)).unwrap();

    let quarter: Vec<usize> = (4..PATCHES).flat_map(|y| (4..PATCHES).map(move |x| y * PATCHES + x)).collect();
    let shares = selection.shares(FRAMES - 1, &quarter);
    assert_eq!(shares[4], 1.0, "{shares:?}");
    assert_eq!(shares[FRAMES - 1], 1.0, "{shares:?}");
    let next = (0..FRAMES - 1).filter(|frame| *frame != 4).map(|frame| shares[frame]).fold(0.0, f64::max);
    assert!(next < 0.8, "{shares:?}");

    // As many lists as tokens, each with its own frame, and none after it.
    assert_eq!(selection.lists.len(), FRAMES * FRAME_TOKENS * 3);
    for frame in 0..FRAMES {
        for patch in 0..FRAME_TOKENS {
            let list: Vec<u32> =
                selection.list(frame, patch).iter().copied().take_while(|block| *block != u32::MAX).collect();
            assert_eq!(list.len(), 3.min(frame + 1));
            assert_eq!(list.last(), Some(&(frame as u32)));
        }
    }
}

/// With room for all frames the selected branch is dense attention: it has all of its weight.
#[test]
fn lists_of_all_frames_hold_all_the_weight() {
    let gpu = gpu();
    let tokens = FrameTokens::new(&film()[..4 * FRAME_SIDE * FRAME_SIDE * 3]).unwrap();
    let config = FrameSearchConfig { top_n: 5, ..Default::default() };
    let search = FrameSearch::new(gpu, &tokens, &config).unwrap();
    for plan in [&search.sparse, &search.dense] {
        pollster::block_on(plan.run(no_progress)).unwrap();
    }
    let selection = pollster::block_on(search.selection(gpu)).unwrap();
    for (token, weight) in selection.weight.iter().enumerate() {
        assert!((weight - 1.0).abs() < 1e-4, "token {token}: {weight}");
    }
    assert!(search.cost().mean_keys(tokens.len()) > 0.0);
}
