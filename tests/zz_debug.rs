mod common;
use common::*;
use gristmill::models::non_local_means::{NonLocalMeans, NonLocalMeansConfig};
use gristmill::twins::non_local_means::{NonLocalMeansShape, non_local_means};
use gristmill::{Schedule, no_progress};
#[test]
fn dbg() {
    let (height, width, channels) = (190, 210, 3);
    let config = NonLocalMeansConfig { margin: 24, ..NonLocalMeansConfig::for_noise(height, width, channels, 0.1) };
    let pixels: Vec<f32> = Random::new(3).normal(height*width*3, 0.1).iter().map(|v| v+0.5).collect();
    let image = upload("image", &[height, width, channels], &pixels);
    let shape = NonLocalMeansShape { height, width, channels, tile: 16, margin: 24, radius: 1 };
    let expected = non_local_means(&doubles(&pixels), &shape, config.h as f64);
    for kind in variants() {
    for _ in 0..2 {
    let config = NonLocalMeansConfig { variant: Some(kind), ..config.clone() };
    let mut schedule = Schedule::new(gpu());
    let result = NonLocalMeans::new(gpu(), config.clone()).unwrap().record(&mut schedule, &image).unwrap();
    let plan = schedule.compile().unwrap();
    println!("{:?}", plan.report());
    plan.poison();
    pollster::block_on(plan.run(no_progress)).unwrap();
    let found = read(&result);
    let mut bad = std::collections::BTreeMap::new();
    for i in 0..found.len() { let e = (found[i] as f64 - expected[i]).abs(); if !(e < 2e-5) { let p = i/3; *bad.entry((p/width/16, p%width/16)).or_insert(0) += 1; } }
    println!("{kind} bad tiles {bad:?}");
    } }
}
