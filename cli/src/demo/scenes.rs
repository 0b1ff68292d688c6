//! Classes by merged tokens: scenes that the model has not seen, and a photo of another world.

use super::DemoArgs;
use crate::photo::Photo;
use crate::plot::FilmStrip;
use crate::report::Report;
use crate::segment::{Models, Times, WEIGHTS};
use anyhow::{Context, Result};
use gristmill::Gpu;

/// Scenes, each with the class of every pixel.
const SCENES: [(&[u8], &[u8]); 3] = [
    (
        include_bytes!("../../assets/scenes/scene-01.png"),
        include_bytes!("../../assets/scenes/scene-01.labels.png"),
    ),
    (
        include_bytes!("../../assets/scenes/scene-04.png"),
        include_bytes!("../../assets/scenes/scene-04.labels.png"),
    ),
    (
        include_bytes!("../../assets/scenes/scene-07.png"),
        include_bytes!("../../assets/scenes/scene-07.labels.png"),
    ),
];

/// What the models said of the scenes.
pub struct Scenes {
    times: Times,
    /// Means over the scenes: rows kept, right pixels merged and plain.
    kept: f64,
    accuracy: [f64; 2],
}

impl Scenes {
    /// Segments scenes and the photo; writes `scenes.png`.
    pub fn run(gpu: &Gpu, args: &DemoArgs, photo: &Photo) -> Result<Self> {
        let models = Models::new(gpu, WEIGHTS, args.adapter.variant)?;
        let mut rows = Vec::new();
        let mut scenes = Self { times: Times { merged: 0.0, plain: 0.0 }, kept: 0.0, accuracy: [0.0; 2] };
        let count = SCENES.len() as f64;
        for (picture, labels) in SCENES {
            let segmented = models.segment(gpu, &Photo::decode(picture)?)?;
            let labels = image::load_from_memory(labels).context("the labels of a scene")?.into_luma8();
            for (sum, one) in scenes.accuracy.iter_mut().zip(segmented.accuracy(&labels)) {
                *sum += one / count;
            }
            scenes.kept += segmented.kept() / count;
            rows.push((format!("a scene: {}", segmented.summary()), segmented.stills()));
        }
        scenes.times = models.time(gpu, 3)?;
        let segmented = models.segment(gpu, photo)?;
        rows.push((format!("a photo: {}", segmented.summary()), segmented.stills()));
        let title = "Classes by merged tokens".into();
        FilmStrip { title, legend: models.legend(), largest: 206.0, rows, lead: 0 }
            .save(&args.output.join("scenes.png"))?;
        Ok(scenes)
    }

    /// One line for the terminal.
    pub fn summary(&self) -> String {
        let [merged, plain] = self.accuracy.map(|share| 100.0 * share);
        format!(
            "{:.0} % of the rows kept, {merged:.1} % of the pixels right (plain {plain:.1} %); {}",
            100.0 * self.kept,
            self.times.summary()
        )
    }

    /// The section of the report.
    pub fn report(&self, report: &mut Report) {
        report
            .section("Token merging: classes of pixels by few tokens")
            .paragraph(
                "ClustViT (arXiv 2510.01948): after the first blocks of a vision transformer a small network tells for each token \
                 whether it is kept or belongs to one of three clusters; a cluster goes on as one token, its mean. At the \
                 end every token gets a row again. How many rows are left stays on the GPU, and the later blocks do the work of \
                 those alone. This model has 0.8 million parameters and was trained on drawn scenes of textured shapes, where \
                 shapes are found well and a shape with an unusual texture is often misnamed; of photos it knows nothing: \
                 there, the clusters alone are worth a look.",
            )
            .pictures(&[("scenes.png", "scenes that it has not seen, and the photo")])
            .paragraph(&format!("Over the scenes: {}.", self.summary()))
            .paragraph("The same with your own picture:")
            .code("gristmill segment photo.jpg classes.png");
    }
}
