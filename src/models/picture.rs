//! Pictures on the host, as filters and the codec take them.

/// A picture on the host.
#[derive(Clone, Copy, Debug)]
pub struct Picture<'a> {
    /// `[height, width, channels]`, row by row.
    pub pixels: &'a [f32],
    /// Rows.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
    /// Elements of a pixel.
    pub channels: usize,
}
