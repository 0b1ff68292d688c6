//! The convolutional decoder that low-rank VQ is compared with.

mod common;

use common::{Random, assert_close, doubles, gpu, read, upload, variants};
use gristmill::models::vqvae_decoder::{VqvaeDecoder, VqvaeDecoderConfig, VqvaeDecoderWeights};
use gristmill::twins::vqvae_decoder::vqvae_decoder;
use gristmill::{Schedule, no_progress};

/// Small enough for the twin, in sizes that divide nothing.
fn small() -> VqvaeDecoderConfig {
    VqvaeDecoderConfig { latent: 7, hidden: 18, residual_hidden: 5, ..Default::default() }
}

#[test]
fn equals_the_twin() {
    let [batch, height, width] = [2, 5, 6];
    let weights = VqvaeDecoderWeights::random(&small(), 3);
    let latents = Random::new(4).normal(batch * height * width * 7, 1.0);
    let expected = vqvae_decoder(&doubles(&latents), [batch, height, width], &small(), &weights);
    assert!(expected.iter().any(|value| value.abs() > 0.1), "the weights let nothing through");
    for kind in variants() {
        let config = VqvaeDecoderConfig { variant: Some(kind), ..small() };
        let decoder = VqvaeDecoder::new(gpu(), &config, &weights).unwrap();
        let mut schedule = Schedule::new(gpu());
        let x = upload("latents", &[batch, height, width, 7], &latents);
        let image = decoder.record(&mut schedule, &x).unwrap();
        assert_eq!(image.shape(), [batch, 20, 24, 3]);
        let plan = schedule.compile().unwrap();
        plan.poison();
        pollster::block_on(plan.run(no_progress)).unwrap();
        assert_close(&format!("decoder by {kind}"), &read(&image), &expected, 1e-5);
    }
}

#[test]
fn its_cost_is_the_closed_form() {
    let latents = upload("latents", &[5, 6, 7], &[0.0; 210]);
    let decoder = VqvaeDecoder::new(gpu(), &small(), &VqvaeDecoderWeights::random(&small(), 1)).unwrap();
    let mut schedule = Schedule::new(gpu());
    assert_eq!(decoder.record(&mut schedule, &latents).unwrap().shape(), [20, 24, 3]);
    assert_eq!(schedule.cost().flops, 2.0 * small().macs(5, 6));
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let weights = VqvaeDecoderWeights::random(&small(), 1);
    let refused = |config: VqvaeDecoderConfig, weights: &VqvaeDecoderWeights| {
        VqvaeDecoder::new(gpu(), &config, weights).unwrap_err().to_string()
    };
    let odd = refused(VqvaeDecoderConfig { hidden: 5, ..small() }, &weights);
    assert!(odd.contains("`hidden`") && odd.contains('5'), "{odd}");
    let empty = refused(VqvaeDecoderConfig { latent: 0, ..small() }, &weights);
    assert!(empty.contains("`latent`"), "{empty}");
    let fewer = refused(VqvaeDecoderConfig { residual_blocks: 1, ..small() }, &weights);
    assert!(fewer.contains("`weights`") && fewer.contains('7') && fewer.contains('5'), "{fewer}");
    let other = refused(VqvaeDecoderConfig { latent: 6, ..small() }, &weights);
    assert!(other.contains("`weight`"), "{other}");
}
