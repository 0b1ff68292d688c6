//! The low-rank codec: pictures to `.gvq` files and back, and a film into a canvas.

use crate::convert::{Rgba, Watch, object};
use crate::error::{Failure, unusable};
use crate::session::Session;
use gristmill::codec::{Codebook, Encoded, Encoder, EncoderConfig, read_gvq, write_gvq};
use gristmill::kernels::lowrank_vq::{LowRankVq, Preset, unpack_pixels};
use gristmill::models::picture::Picture;
use gristmill::{Error, Gpu, Plan, Schedule, Tensor, measure, wgpu};
use js_sys::{Array, Function, Uint8Array};
use wasm_bindgen::prelude::*;
use web_sys::OffscreenCanvas;
use web_time::Instant;

#[wasm_bindgen]
impl Session {
    /// A picture to a `.gvq` file. Options: `preset`, `sweeps`, `inline`.
    pub async fn encode(
        &self,
        picture: JsValue,
        codebook: Uint8Array,
        options: JsValue,
        watch: Function,
    ) -> Result<JsValue, Failure> {
        let (gpu, options, watch) = self.begin(options, watch)?;
        let picture = Rgba::new(picture)?;
        let name = options.get("preset").and_then(|name| name.as_string()).unwrap_or_default();
        let preset = Preset::ALL.into_iter().find(|preset| preset.name == name);
        let preset = preset.ok_or_else(|| unusable("preset", format!("`{name}`"), "A, B, C or D"))?;
        let codebook = Codebook::from_safetensors(&codebook.to_vec())?;
        let mut config = EncoderConfig::preset(preset);
        config.sweeps = options.count("sweeps", config.sweeps, 0..=100)?;
        let start = Instant::now();
        let (height, width, channels) = (picture.height, picture.width, 3);
        let seen = picture.colors();
        let encoder = Encoder::new(&gpu, config, &codebook)?;
        let encoded = encoder
            .encode(Picture { pixels: &seen, height, width, channels }, |share| watch.share(share))
            .await?;
        let milliseconds = start.elapsed().as_secs_f64() * 1e3;
        let file = write_gvq(&encoded, &codebook, options.flag("inline", false))?;
        let rate = encoded.rate(&codebook)?;
        let answer = object()
            .set("file", Uint8Array::from(&file[..]))
            .set("bitsPerPixel", rate.bits_per_pixel)
            .set("ratio", rate.ratio)
            .set("milliseconds", milliseconds);
        Ok(answer.into())
    }

    /// The picture of a `.gvq` file, whose codebook is in it or in `codebooks`.
    pub async fn decode(
        &self,
        file: Uint8Array,
        codebooks: Array,
        watch: Function,
    ) -> Result<JsValue, Failure> {
        let (gpu, watch) = (self.gpu(), Watch::new(watch));
        watch.check(0.0)?;
        let (encoded, codebook) = read(&file, &codebooks)?;
        let config = &encoded.config;
        let (words, table) = upload(&gpu, &encoded, &codebook)?;
        let decoder = LowRankVq::new(&gpu, config.clone())?;
        let mut schedule = Schedule::new(&gpu);
        let image = decoder.record_u8(&mut schedule, &table, &words)?;
        let plan = schedule.compile()?;
        plan.run(|at| watch.share(0.5 * at.fraction)).await?;
        let bytes = unpack_pixels(&image.read::<u32>(&gpu).await?, config.width, config.channels);
        let milliseconds = measure::time(&gpu, &[&plan], 3).await?[0];
        let picture = Rgba::opaque(config.height, config.width, config.channels, &bytes);
        let answer = object()
            .set("picture", picture.into_js())
            .set("bitsPerPixel", encoded.rate(&codebook)?.bits_per_pixel)
            .set("variant", decoder.explain().kind.name())
            .set("milliseconds", milliseconds);
        Ok(answer.into())
    }

    /// Decodes a `.gvq` file into a canvas of the picture's size for some seconds. Options: `seconds`.
    pub async fn play(
        &self,
        file: Uint8Array,
        codebooks: Array,
        canvas: OffscreenCanvas,
        options: JsValue,
        watch: Function,
    ) -> Result<JsValue, Failure> {
        let (gpu, options, watch) = self.begin(options, watch)?;
        let seconds = options.get("seconds").map_or(Some(2.0), |seconds| seconds.as_f64());
        let seconds = seconds.filter(|seconds| *seconds > 0.0 && *seconds <= 600.0);
        let seconds =
            seconds.ok_or_else(|| unusable("seconds", "no such time", "more than 0, at most 600"))?;
        let (encoded, codebook) = read(&file, &codebooks)?;
        let film = Film::new(&gpu, &encoded, &codebook)?;
        let surface = surface(&gpu, canvas, &film)?;
        // The first frame compiles the kernel.
        film.show(&gpu, &surface).await?;
        let start = Instant::now();
        let mut frames = 0;
        let elapsed = loop {
            film.show(&gpu, &surface).await?;
            frames += 1;
            let elapsed = start.elapsed().as_secs_f64();
            watch.check((elapsed / seconds).min(1.0))?;
            if elapsed >= seconds {
                break elapsed;
            }
        };
        let answer = object()
            .set("frames", f64::from(frames))
            .set("seconds", elapsed)
            .set("framesPerSecond", f64::from(frames) / elapsed);
        Ok(answer.into())
    }
}

fn read(file: &Uint8Array, codebooks: &Array) -> Result<(Encoded, Codebook), Failure> {
    let known = codebooks.iter().map(|bytes| {
        let bytes: Uint8Array =
            bytes.dyn_into().map_err(|_| unusable("codebooks", "another type", "a list of Uint8Array"))?;
        Ok(Codebook::from_safetensors(&bytes.to_vec())?)
    });
    let known = known.collect::<Result<Vec<_>, Failure>>()?;
    Ok(read_gvq(&file.to_vec(), &known)?)
}

/// Words and codebook on the GPU. Fails for words that don't fit, and for a picture without pixels.
fn upload(gpu: &Gpu, encoded: &Encoded, codebook: &Codebook) -> Result<(Tensor, Tensor), Failure> {
    let config = &encoded.config;
    config.check_words(codebook.codewords(), &encoded.words)?;
    if config.height * config.width == 0 {
        let found = format!("a picture of {} x {} pixels", config.width, config.height);
        return Err(unusable("file", found, "at least one"));
    }
    Ok((Tensor::upload(gpu, "words", &[encoded.words.len()], &encoded.words)?, codebook.upload(gpu)?))
}

/// A picture's code on the GPU and its decoder into a texture.
struct Film {
    plan: Plan,
    texture: wgpu::Texture,
}

impl Film {
    fn new(gpu: &Gpu, encoded: &Encoded, codebook: &Codebook) -> Result<Self, Failure> {
        let config = encoded.config.clone();
        let (words, codebook) = upload(gpu, encoded, codebook)?;
        let most = gpu.limits().max_texture_dimension_2d;
        let side = config.height.max(config.width);
        if side > most as usize {
            let limit = "maxTextureDimension2D";
            let (needed, allowed) = (side as u64, u64::from(most));
            let advice = "decode a smaller picture";
            return Err(Error::Limit { what: "the canvas".into(), limit, needed, allowed, advice }.into());
        }
        let texture = gpu.device().create_texture(&wgpu::TextureDescriptor {
            label: Some("decoded"),
            size: wgpu::Extent3d {
                width: config.width as u32,
                height: config.height as u32,
                depth_or_array_layers: 1,
            },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: wgpu::TextureFormat::Rgba8Unorm,
            usage: wgpu::TextureUsages::STORAGE_BINDING | wgpu::TextureUsages::COPY_SRC,
            view_formats: &[],
        });
        let decoder = LowRankVq::new(gpu, config)?;
        let mut schedule = Schedule::new(gpu);
        let view = texture.create_view(&Default::default());
        decoder.record_texture(&mut schedule, &codebook, &words, &view)?;
        Ok(Self { plan: schedule.compile()?, texture })
    }

    /// Decodes one frame and copies it into the canvas.
    async fn show(&self, gpu: &Gpu, surface: &wgpu::Surface<'_>) -> Result<(), Failure> {
        gpu.check_lost()?;
        let frame = match surface.get_current_texture() {
            wgpu::CurrentSurfaceTexture::Success(frame) | wgpu::CurrentSurfaceTexture::Suboptimal(frame) => {
                frame
            }
            _ => return Err(Error::Validation("the canvas gives no texture to draw into".into()).into()),
        };
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        self.plan.encode(&mut encoder)?;
        encoder.copy_texture_to_texture(
            self.texture.as_image_copy(),
            frame.texture.as_image_copy(),
            self.texture.size(),
        );
        gpu.queue().submit([encoder.finish()]);
        gpu.wait().await?;
        gpu.queue().present(frame);
        Ok(())
    }
}

/// The canvas as something that frames are copied into.
fn surface(gpu: &Gpu, canvas: OffscreenCanvas, film: &Film) -> Result<wgpu::Surface<'static>, Failure> {
    canvas.set_width(film.texture.width());
    canvas.set_height(film.texture.height());
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let surface = instance
        .create_surface(wgpu::SurfaceTarget::OffscreenCanvas(canvas))
        .map_err(|error| Error::Validation(format!("the canvas can't be drawn into by WebGPU: {error}")))?;
    surface.configure(
        gpu.device(),
        &wgpu::SurfaceConfiguration {
            usage: wgpu::TextureUsages::COPY_DST,
            format: wgpu::TextureFormat::Rgba8Unorm,
            color_space: Default::default(),
            width: film.texture.width(),
            height: film.texture.height(),
            present_mode: wgpu::PresentMode::Fifo,
            desired_maximum_frame_latency: 2,
            alpha_mode: wgpu::CompositeAlphaMode::Opaque,
            view_formats: vec![],
        },
    );
    Ok(surface)
}
