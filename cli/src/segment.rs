//! `gristmill segment`: which pixels show what, by a transformer that merges the tokens of large regions.

use crate::AdapterArgs;
use crate::photo::Photo;
use crate::plot::{FilmStrip, INK, Still, color};
use crate::record::figures;
use crate::run::{check_output, write_whole};
use anyhow::{Context, Result};
use clap::Args;
use gristmill::models::segmenter::{Segmentation, Segmenter, SegmenterOptions};
use gristmill::{Gpu, VariantKind, measure, no_progress};
use plotters::style::RGBColor;
use std::path::PathBuf;

#[derive(Args)]
pub struct SegmentArgs {
    /// Picture to segment (PNG or JPEG); its middle square is scaled to the size of the model
    input: PathBuf,
    /// Picture to write (PNG): the input, its classes, its clusters
    output: PathBuf,
    /// Weights of the model (safetensors); those for drawn scenes that come with the program without it
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    #[command(flatten)]
    adapter: AdapterArgs,
}

/// A small ClustViT, trained on drawn scenes of textured shapes: scripts/clustvit.
pub const WEIGHTS: &[u8] = include_bytes!("../assets/clustvit-scenes.safetensors");

pub fn segment(args: &SegmentArgs) -> Result<()> {
    check_output(&args.output, "png")?;
    let photo = Photo::load(&args.input)?;
    let file;
    let weights = match &args.weights {
        Some(path) => {
            file = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            &file
        }
        None => WEIGHTS,
    };
    let gpu = args.adapter.gpu()?;
    let models = Models::new(&gpu, weights, args.adapter.variant)?;
    let segmented = models.segment(&gpu, &photo)?;
    let times = models.time(&gpu, 5)?;
    println!("{}", segmented.summary());
    println!("{}", times.summary());
    let strip = FilmStrip {
        title: "Classes by merged tokens".into(),
        legend: models.legend(),
        largest: 260.0,
        rows: vec![(segmented.summary(), segmented.stills())],
        lead: 0,
    };
    write_whole(&args.output, &strip.png()?)
        .with_context(|| format!("cannot write {}", args.output.display()))?;
    let _ = gpu.save_pipeline_cache();
    println!("{}", args.output.display());
    Ok(())
}

/// One file of weights, with and without merging.
pub struct Models {
    merged: Segmenter,
    plain: Segmenter,
}

/// Milliseconds of the whole model on the last picture.
pub struct Times {
    pub merged: f64,
    pub plain: f64,
}

impl Times {
    pub fn summary(&self) -> String {
        let Self { merged, plain } = self;
        format!("merged {} ms, plain {} ms ({:.2}x)", figures(*merged), figures(*plain), plain / merged)
    }
}

/// A picture and what both models say of it.
pub struct Segmented {
    picture: Photo,
    merged: Segmentation,
    plain: Segmentation,
    tokens: usize,
}

impl Models {
    pub fn new(gpu: &Gpu, weights: &[u8], variant: Option<VariantKind>) -> Result<Self> {
        let model =
            |merge| Segmenter::new(gpu, weights, &SegmenterOptions { merge, variant, ..Default::default() });
        Ok(Self { merged: model(true)?, plain: model(false)? })
    }

    /// Segments the middle of a photo.
    pub fn segment(&self, gpu: &Gpu, photo: &Photo) -> Result<Segmented> {
        let picture = photo.middle_scaled(self.merged.side())?;
        let run = |model: &Segmenter| pollster::block_on(model.segment(gpu, &picture.pixels, no_progress));
        let (merged, plain) = (run(&self.merged)?, run(&self.plain)?);
        Ok(Segmented { picture, merged, plain, tokens: self.merged.tokens() })
    }

    /// Times both in turns.
    pub fn time(&self, gpu: &Gpu, samples: usize) -> Result<Times> {
        let plans = [self.merged.plan(), self.plain.plan()];
        let times = pollster::block_on(measure::time(gpu, &plans, samples))?;
        Ok(Times { merged: times[0], plain: times[1] })
    }

    /// The classes with their colours; the first is the ground, which keeps its own.
    pub fn legend(&self) -> Vec<(String, [u8; 3])> {
        let names = self.merged.classes().iter().enumerate().skip(1);
        names.map(|(class, name)| (name.clone(), class_color(class))).collect()
    }
}

fn class_color(class: usize) -> [u8; 3] {
    let RGBColor(r, g, b) = color(class - 1);
    [r, g, b]
}

/// None of the colours of five classes.
fn cluster_color(id: u32) -> RGBColor {
    match id % 3 {
        1 => color(5),
        2 => color(6),
        _ => INK,
    }
}

impl Segmented {
    /// Share of the pixels on which both models agree.
    pub fn agreement(&self) -> f64 {
        let same = self.merged.classes.iter().zip(&self.plain.classes).filter(|(a, b)| a == b).count();
        same as f64 / self.plain.classes.len() as f64
    }

    /// Rows after the merge, of all.
    pub fn kept(&self) -> f64 {
        self.merged.rows as f64 / self.plain.rows as f64
    }

    pub fn summary(&self) -> String {
        format!(
            "{} of {} rows kept ({:.0} %), {:.1} % of the pixels as without merging",
            self.merged.rows,
            self.plain.rows,
            100.0 * self.kept(),
            100.0 * self.agreement()
        )
    }

    /// Share of pixels of the right class, of both models.
    pub fn accuracy(&self, labels: &[u8]) -> [f64; 2] {
        [&self.merged, &self.plain].map(|one| {
            let right = one.classes.iter().zip(labels).filter(|(a, b)| a == b).count();
            right as f64 / labels.len() as f64
        })
    }

    /// The picture; its classes by either model; its clusters.
    pub fn stills(&self) -> Vec<Still> {
        let still =
            |caption: &str, pixels| Still { caption: caption.into(), pixels, accent: false, outline: None };
        vec![
            still("the picture", self.picture.pixels.clone()),
            still("clusters; kept tokens as they are", self.clusters()),
            still("classes, merged", self.painted(&self.merged)),
            still("classes, plain", self.painted(&self.plain)),
        ]
    }

    /// The picture in grey under the colours of its classes.
    fn painted(&self, segmentation: &Segmentation) -> Vec<f32> {
        let pixels = self.picture.pixels.chunks_exact(3).zip(&segmentation.classes);
        pixels
            .flat_map(|(pixel, &class)| {
                let grey = 0.3 * pixel[0] + 0.59 * pixel[1] + 0.11 * pixel[2];
                match class {
                    0 => [0.5 + 0.5 * grey; 3],
                    _ => class_color(class.into()).map(|c| 0.75 * f32::from(c) / 255.0 + 0.25 * grey),
                }
            })
            .collect()
    }

    /// Every merged token in the colour of its cluster, the others as they are.
    fn clusters(&self) -> Vec<f32> {
        let side = self.picture.width;
        let patch = side / self.tokens;
        let none = Vec::new();
        let ids = self.merged.clusters.as_ref().unwrap_or(&none);
        let pixels = self.picture.pixels.chunks_exact(3).enumerate();
        pixels
            .flat_map(|(at, pixel)| {
                let (y, x) = (at / side, at % side);
                match ids.get(y / patch * self.tokens + x / patch) {
                    Some(&id) if id > 0 => {
                        let RGBColor(r, g, b) = cluster_color(id);
                        [r, g, b].map(|c| f32::from(c) / 255.0)
                    }
                    _ => [pixel[0], pixel[1], pixel[2]],
                }
            })
            .collect()
    }
}
