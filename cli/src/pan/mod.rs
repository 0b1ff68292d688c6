//! `gristmill pan`: the frames of a pan over a photo look for each other, by sparse attention whose blocks are frames.

mod film;

use crate::AdapterArgs;
use crate::photo::Photo;
use crate::plot::{FilmStrip, HeatMap, Still};
use crate::record::figures;
use crate::report::Report;
use anyhow::{Context, Result};
use clap::Args;
use clap::builder::RangedU64ValueParser;
use film::{ASKED, FRAMES, Film, PLANTED};
use gristmill::models::frame_search::{
    FRAME_TOKENS, FrameSearch, FrameSearchConfig, FrameSelection, FrameTokens, PATCHES,
};
use gristmill::{Gpu, measure};
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct PanArgs {
    /// Photo to pan over (PNG or JPEG)
    photo: PathBuf,
    /// Folder for the report and its pictures
    #[arg(long, visible_alias = "out", value_name = "DIR", default_value = "pan-out")]
    output: PathBuf,
    /// Picture that two of the frames show (PNG or JPEG); a bundled one without it
    #[arg(long, value_name = "FILE")]
    insert: Option<PathBuf>,
    /// Frames that a token reads, its own included
    #[arg(long, default_value_t = 8, value_parser = RangedU64ValueParser::<usize>::new().range(2..=96))]
    top_n: usize,
    #[command(flatten)]
    adapter: AdapterArgs,
}

/// The picture that two frames show unless another is given.
pub const INSERT: &[u8] = include_bytes!("../../assets/coffee.png");

/// Writes `report.html` with its pictures.
pub fn pan(args: &PanArgs) -> Result<()> {
    let photo = Photo::load(&args.photo)?;
    let insert = match &args.insert {
        Some(path) => Photo::load(path)?,
        None => Photo::decode(INSERT)?,
    };
    let gpu = args.adapter.gpu()?;
    std::fs::create_dir_all(&args.output).with_context(|| format!("--output {}", args.output.display()))?;
    let config = FrameSearchConfig { top_n: args.top_n, variant: args.adapter.variant, ..Default::default() };
    let pan = Pan::run(&gpu, &photo, &insert, &config, &args.output)?;
    println!("{}", pan.summary());
    let subtitle = format!("{} · {:?} · kernels: {}", gpu.info().name, gpu.info().backend, pan.variant);
    let mut report = Report::new("Frames that look for each other", subtitle);
    pan.report(&mut report);
    println!("report: {}", report.write(&args.output)?.display());
    let _ = gpu.save_pipeline_cache();
    Ok(())
}

/// What the search found.
pub struct Pan {
    variant: String,
    sparse_ms: f64,
    dense_ms: f64,
    /// Keys that a query reads, on average: sparse, dense.
    keys: [f64; 2],
    /// Of the last quarter of the frames: share of dense attention's weight in the listed frames, and of its keys.
    weight: [f64; 2],
    /// Shares of the other picture's patches in the last frame that list each frame.
    shares: Vec<f64>,
    top_n: usize,
}

impl Pan {
    /// Pans, searches, and writes the pictures `pan_film.png`, `pan_map.png` and `pan_lists.png`.
    pub fn run(
        gpu: &Gpu,
        photo: &Photo,
        insert: &Photo,
        config: &FrameSearchConfig,
        folder: &Path,
    ) -> Result<Self> {
        let film = Film::new(photo, insert)?;
        let search = FrameSearch::new(gpu, &FrameTokens::new(&film.pixels)?, config)?;
        let times = pollster::block_on(measure::time(gpu, &[&search.sparse, &search.dense], 3))?;
        let selection = pollster::block_on(search.selection(gpu))?;

        let rows = FRAMES * FRAME_TOKENS;
        let late = rows - rows / 4;
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let listed = |token: usize| {
            let own = token % FRAME_TOKENS + 1;
            (own + (config.top_n - 1) * FRAME_TOKENS) as f64 / (token + 1) as f64
        };
        let key_share: Vec<f64> = (late..rows).map(listed).collect();
        let pan = Self {
            variant: search.explain().kind.to_string(),
            sparse_ms: times[0],
            dense_ms: times[1],
            keys: [search.cost().mean_keys(rows), (rows + 1) as f64 / 2.0],
            weight: [mean(&selection.weight[late..]), mean(&key_share)],
            shares: selection.shares(ASKED, &Film::insert_patches()),
            top_n: config.top_n,
        };
        film_strip(&film).save(&folder.join("pan_film.png"))?;
        pan.heat_map(&selection).save(&folder.join("pan_map.png"))?;
        lists(&film, &selection).save(&folder.join("pan_lists.png"))?;
        Ok(pan)
    }

    /// Whether a photo is large enough.
    pub fn fits(photo: &Photo) -> bool {
        photo.height.min(photo.width) >= Film::least()
    }

    /// Whether more of the other picture's patches list the planted frame than any other earlier one.
    pub fn found(&self) -> bool {
        let earlier = || self.shares[..ASKED].iter().enumerate();
        let others = earlier().filter(|(frame, _)| *frame != PLANTED).map(|(_, share)| *share);
        self.shares[PLANTED] > others.fold(0.0, f64::max)
    }

    /// What was found, in words.
    fn finding(&self) -> String {
        let count = |share: f64| (share * Film::insert_patches().len() as f64).round();
        let earlier = self.shares[..ASKED].iter().enumerate();
        let (next, share) = earlier
            .filter(|(frame, _)| *frame != PLANTED)
            .max_by(|a, b| a.1.total_cmp(b.1))
            .expect("there are many frames");
        format!(
            "frame {PLANTED} is on the list of {} of the {} patches that show the inserted picture; the next, frame {next}, on that of {}",
            count(self.shares[PLANTED]),
            count(1.0),
            count(*share)
        )
    }

    /// A few lines for the terminal.
    pub fn summary(&self) -> String {
        let [keys, all] = self.keys;
        format!(
            "{FRAMES} frames of {FRAME_TOKENS} tokens: {} ms, dense {} ms ({:.1}x); a query reads {keys:.0} keys of {all:.0} on average\n{}{}",
            figures(self.sparse_ms),
            figures(self.dense_ms),
            self.dense_ms / self.sparse_ms,
            if self.found() { "found: " } else { "NOT found: " },
            self.finding()
        )
    }

    fn heat_map(&self, selection: &FrameSelection) -> HeatMap {
        HeatMap {
            title: "Which earlier frames each frame reads".into(),
            x_label: "frame that is read".into(),
            y_label: "frame that asks".into(),
            value_label: "share of its tokens that list the frame".into(),
            size: FRAMES,
            values: selection.heat(),
            marks: vec![(
                ASKED,
                PLANTED,
                format!("the inserted picture, shown again by the last frame: it was in frame {PLANTED}"),
            )],
            notes: vec![
                "the upper edge: a frame and those just before it".into(),
                "the line down to the left: the way back meets the views of the way there".into(),
            ],
        }
    }

    /// The section of a report that lies in the pictures' folder.
    pub fn report(&self, report: &mut Report) {
        let [keys, all] = self.keys;
        let [weight, share] = self.weight.map(|share| 100.0 * share);
        report
            .section("Native sparse attention: frames that look for each other")
            .paragraph(&format!(
                "{FRAMES} frames of a pan over the photo, there and back. Frame {PLANTED} shows another picture in its middle; the \
                 last frame shows that picture again, at another place. A frame is 8 x 8 patches, a patch is a token: its colours, \
                 whitened and scaled to length 1, nothing is trained. With Native Sparse Attention (arXiv 2502.11089), set up as \
                 VideoNSA does (arXiv 2510.02295), a block is a frame: each token compares itself with the mean of every earlier \
                 frame and reads the {} best ones. The 16 heads that share a list are the 4 x 4 patches around the token.",
                self.top_n
            ))
            .pictures(&[("pan_film.png", "every fourth frame; the other picture is in the two with a rim")])
            .pictures(&[("pan_map.png", "which frames the tokens of each frame list")])
            .pictures(&[("pan_lists.png", "the lists of two tokens of the last frame; outlined: the patches that ask together")])
            .checks(&[("the frame with the inserted picture is found", self.found(), &self.finding())])
            .paragraph(&format!(
                "Of the last quarter of the frames, {weight:.0} % of the weight of dense attention lies in the frames that were \
                 listed, with {share:.0} % of the keys."
            ))
            .table(
                &["attention", "ms", "keys that a query reads, on average"],
                &[
                    vec!["native sparse, all branches and the selection".to_owned(), figures(self.sparse_ms), format!("{keys:.0}")],
                    vec!["dense, causal".to_owned(), figures(self.dense_ms), format!("{all:.0}")],
                ],
            )
            .paragraph("The same with your own photo:")
            .code("gristmill pan photo.jpg --output pan-out --insert other.png");
    }
}

/// Every fourth frame, the two with the other picture among them.
fn film_strip(film: &Film) -> FilmStrip {
    let still = |frame: usize| Still {
        caption: frame.to_string(),
        pixels: film.frame(frame).to_vec(),
        accent: frame == PLANTED || frame == ASKED,
        outline: None,
    };
    let (there, back) = (0..FRAMES / 2, FRAMES / 2 + 3..FRAMES);
    FilmStrip {
        title: "A pan over a photo, there and back".into(),
        legend: vec![],
        largest: 96.0,
        rows: vec![
            ("the way there: every fourth frame".into(), there.step_by(4).map(still).collect()),
            ("the way back over the same views".into(), back.step_by(4).map(still).collect()),
        ],
        lead: 0,
    }
}

/// The last frame with two of its regions, and the frames on the list of the token in the middle of each.
fn lists(film: &Film, selection: &FrameSelection) -> FilmStrip {
    let [top, left, side] = Film::insert_outline();
    let row = |heading: &str, [top, left]: [usize; 2]| {
        // The token whose region is the outlined part: its heads reach two patches up and left.
        let patch = |at: usize| (at + side / 2) / (side / 4);
        let list = selection.list(ASKED, patch(top) * PATCHES + patch(left));
        let asking = Still {
            caption: format!("{ASKED} asks"),
            pixels: film.frame(ASKED).to_vec(),
            accent: false,
            outline: Some([top, left, side]),
        };
        // At most eight fit beside it: the latest ones go, its own first.
        let listed = list.iter().map(|block| *block as usize).filter(|frame| *frame < ASKED).take(8);
        let listed = listed.map(|frame| Still {
            caption: frame.to_string(),
            pixels: film.frame(frame).to_vec(),
            accent: frame == PLANTED,
            outline: None,
        });
        (heading.to_owned(), [asking].into_iter().chain(listed).collect())
    };
    FilmStrip {
        title: "What two regions of the last frame read, beside their own frame".into(),
        legend: vec![],
        largest: 96.0,
        rows: vec![row("the inserted picture", [top, left]), row("a part of the photo", [32, 0])],
        lead: 1,
    }
}
