//! A pan over a photo, there and back, as the frames of a video; two of them show another picture.

use crate::photo::Photo;
use anyhow::{Result, ensure};
use gristmill::models::frame_search::{FRAME_SIDE, PATCHES};

/// Frames of the pan: half of them on the way there, half on the way back over the same views.
pub const FRAMES: usize = 96;
/// The earlier frame that shows the other picture.
pub const PLANTED: usize = 20;
/// The frame that shows it again and asks where it was: the last.
pub const ASKED: usize = FRAMES - 1;
/// Top and left of the other picture in these two frames, in patches.
const PLACES: [(usize, usize, usize); 2] = [(PLANTED, 2, 2), (ASKED, 1, 4)];
/// Patches of a side of the other picture.
const INSERT: usize = 4;
const PATCH: usize = FRAME_SIDE / PATCHES;
/// Side of a view, of the shorter side of the photo.
const VIEW: f64 = 0.55;

/// The frames.
pub struct Film {
    /// `[FRAMES, FRAME_SIDE, FRAME_SIDE, 3]`.
    pub pixels: Vec<f32>,
}

impl Film {
    /// Pixels that either side of a photo needs: a view has at least those of a frame.
    pub fn least() -> usize {
        (FRAME_SIDE as f64 / VIEW).ceil() as usize
    }

    /// Pans over `photo`. Errors where it is too small.
    pub fn new(photo: &Photo, insert: &Photo) -> Result<Self> {
        let least = Self::least();
        let (height, width) = (photo.height, photo.width);
        ensure!(
            height.min(width) >= least,
            "the photo has {width} x {height} pixels; expected at least {least} on either side"
        );
        let view = VIEW * height.min(width) as f64;
        let (right, down) = (photo.width as f64 - view, photo.height as f64 - view);
        let mut pixels = Vec::with_capacity(FRAMES * FRAME_SIDE * FRAME_SIDE * 3);
        for frame in 0..FRAMES {
            let along = frame.min(FRAMES - 1 - frame) as f64 / (FRAMES / 2 - 1) as f64;
            // Down and up again while it goes to the right.
            let wave = 0.5 - 0.5 * (std::f64::consts::TAU * along).cos();
            // A picture that is taller than wide is panned over from top to bottom.
            let (top, left) =
                if right >= down { (wave * down, along * right) } else { (along * down, wave * right) };
            pixels.extend(view_of(photo, top, left, view, FRAME_SIDE));
        }
        let mut film = Self { pixels };
        let square = insert.height.min(insert.width) as f64;
        let (top, left) = ((insert.height as f64 - square) / 2.0, (insert.width as f64 - square) / 2.0);
        let side = INSERT * PATCH;
        let insert = view_of(insert, top, left, square, side);
        for (frame, y, x) in PLACES {
            for (line, row) in insert.chunks_exact(side * 3).enumerate() {
                let start = ((frame * FRAME_SIDE + y * PATCH + line) * FRAME_SIDE + x * PATCH) * 3;
                film.pixels[start..start + row.len()].copy_from_slice(row);
            }
        }
        Ok(film)
    }

    /// One frame, `[FRAME_SIDE, FRAME_SIDE, 3]`.
    pub fn frame(&self, frame: usize) -> &[f32] {
        let size = FRAME_SIDE * FRAME_SIDE * 3;
        &self.pixels[frame * size..][..size]
    }

    /// The patches of the last frame that show the other picture.
    pub fn insert_patches() -> Vec<usize> {
        let (_, top, left) = PLACES[1];
        (top..top + INSERT).flat_map(|y| (left..left + INSERT).map(move |x| y * PATCHES + x)).collect()
    }

    /// Top, left and side of the other picture in the last frame, in pixels.
    pub fn insert_outline() -> [usize; 3] {
        let (_, top, left) = PLACES[1];
        [top * PATCH, left * PATCH, INSERT * PATCH]
    }
}

/// A square part of the photo, `side` pixels wide, reduced or enlarged to `pixels` x `pixels`.
fn view_of(photo: &Photo, top: f64, left: f64, side: f64, pixels: usize) -> Vec<f32> {
    // So many points for each pixel that none of the photo's is left out.
    let points = (side / pixels as f64).ceil().max(1.0) as usize;
    let step = side / (pixels * points) as f64;
    let place = |start: f64, at: usize, most: usize| {
        let exact = (start + (at as f64 + 0.5) * step - 0.5).clamp(0.0, (most - 1) as f64);
        let low = (exact as usize).min(most.saturating_sub(2));
        (low, (low + 1).min(most - 1), (exact - low as f64) as f32)
    };
    let mut view = vec![0.0; pixels * pixels * 3];
    for y in 0..pixels * points {
        let (y0, y1, down) = place(top, y, photo.height);
        for x in 0..pixels * points {
            let (x0, x1, across) = place(left, x, photo.width);
            let at = |y: usize, x: usize, colour: usize| photo.pixels[(y * photo.width + x) * 3 + colour];
            for colour in 0..3 {
                let upper = at(y0, x0, colour) * (1.0 - across) + at(y0, x1, colour) * across;
                let lower = at(y1, x0, colour) * (1.0 - across) + at(y1, x1, colour) * across;
                view[(y / points * pixels + x / points) * 3 + colour] +=
                    (upper * (1.0 - down) + lower * down) / (points * points) as f32;
            }
        }
    }
    view
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gradient(height: usize, width: usize) -> Photo {
        let pixel = |at: usize| {
            let (y, x) = (at / width, at % width);
            [y as f32 / height as f32, x as f32 / width as f32, 0.5]
        };
        Photo::from_pixels(height, width, (0..height * width).flat_map(pixel).collect()).unwrap()
    }

    #[test]
    fn a_view_keeps_slopes_and_means() {
        let photo = gradient(200, 300);
        let view = view_of(&photo, 20.0, 50.0, 128.0, 64);
        // Pixel (10, 30) covers rows 40 to 41 and columns 110 to 111.
        let pixel = &view[(10 * 64 + 30) * 3..][..3];
        assert!((pixel[0] - 40.5 / 200.0).abs() < 1e-5 && (pixel[1] - 110.5 / 300.0).abs() < 1e-5);
        assert!((pixel[2] - 0.5).abs() < 1e-5);
    }

    #[test]
    fn the_way_back_shows_the_same_views() {
        let film = Film::new(&gradient(150, 400), &gradient(90, 80)).unwrap();
        assert_eq!(film.pixels.len(), FRAMES * FRAME_SIDE * FRAME_SIDE * 3);
        assert_eq!(film.frame(30), film.frame(FRAMES - 1 - 30));
        assert_ne!(film.frame(30), film.frame(31));
        // The other picture is the same in both frames, at its own place in each.
        let line = |frame: usize, y: usize, x: usize| {
            film.frame(frame)[(y * PATCH * FRAME_SIDE + x * PATCH) * 3..][..INSERT * PATCH * 3].to_vec()
        };
        let [(first, y, x), (second, v, u)] = PLACES;
        assert_eq!(line(first, y, x), line(second, v, u));
        assert_eq!(Film::insert_patches().len(), 16);
    }

    #[test]
    fn tall_pictures_are_panned_over_downwards_and_small_ones_refused() {
        let film = Film::new(&gradient(400, 150), &gradient(80, 80)).unwrap();
        let first = film.frame(0)[0];
        assert!(film.frame(FRAMES / 2)[0] > first + 0.4);
        let error = Film::new(&gradient(100, 400), &gradient(80, 80)).err().unwrap().to_string();
        assert!(error.contains("400 x 100 pixels; expected at least 117"), "{error}");
    }
}
