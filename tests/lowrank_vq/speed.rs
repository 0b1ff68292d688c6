//! One kernel against four steps, on the largest picture that a screen shows.

use crate::common::{Random, gpu, variants};
use crate::textures::texture;
use crate::vq_case::Case;
use gristmill::kernels::lowrank_vq::{LowRankVq, LowRankVqConfig, LowRankVqSteps, Preset};
use gristmill::{Plan, Schedule, measure, wgpu};

#[test]
fn one_kernel_is_three_times_as_fast_as_four_steps() {
    let side = 2048;
    let case = Case::new(Preset::B.config(side, side, 3), Preset::B.codewords);
    let mut data = case.data();
    let mut random = Random::new(3);
    data.words.iter_mut().for_each(|word| *word = random.below(1 << 32) as u32);
    let (codebook, words) = case.upload(&data);
    let view = texture(side as u32, side as u32, wgpu::TextureUsages::STORAGE_BINDING);
    let view = view.create_view(&Default::default());
    let compile = |record: &dyn Fn(&mut Schedule)| -> Plan {
        let mut schedule = Schedule::new(gpu());
        record(&mut schedule);
        schedule.compile().unwrap()
    };
    let steps = LowRankVqSteps::new(gpu(), case.config.clone()).unwrap();
    let mut plans = vec![compile(&|s| drop(steps.record_texture(s, &codebook, &words, &view).unwrap()))];
    let mut names = vec!["four steps, texture".to_string()];
    // The build that fits the adapter first.
    let own = gpu().variant(None).unwrap().kind;
    let others = variants().into_iter().filter(|kind| *kind != own);
    for kind in std::iter::once(own).chain(others) {
        let config = LowRankVqConfig { variant: Some(kind), ..case.config.clone() };
        let decoder = LowRankVq::new(gpu(), config).unwrap();
        plans.push(compile(&|s| decoder.record_texture(s, &codebook, &words, &view).unwrap()));
        names.push(format!("{kind}, texture"));
        plans.push(compile(&|s| drop(decoder.record_u8(s, &codebook, &words).unwrap())));
        names.push(format!("{kind}, bytes"));
        plans.push(compile(&|s| drop(decoder.record(s, &codebook, &words).unwrap())));
        names.push(format!("{kind}, f32"));
    }
    let ms = pollster::block_on(measure::time(gpu(), &plans.iter().collect::<Vec<_>>(), 5)).unwrap();
    let peaks = pollster::block_on(measure::peaks(gpu())).unwrap();
    for ((name, plan), ms) in names.iter().zip(&plans).zip(&ms) {
        let rate = plan.cost().bytes / ms * 1e-6;
        println!(
            "{name}: {ms:.2} ms, {:.0} megapixels/s, {rate:.1} GB/s, {:.0} % of copying",
            (side * side) as f64 / ms * 1e-3,
            100.0 * rate / peaks.gbps
        );
    }
    assert!(ms[0] >= 3.0 * ms[1], "four steps {} ms, one kernel {} ms", ms[0], ms[1]);
}
