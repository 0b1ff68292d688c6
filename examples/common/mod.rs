//! What the apps of the examples share: textures, and how one is written to a file. Nothing here is about Gristmill.

use gristmill::wgpu;
use std::path::Path;

pub type AnyResult<T> = Result<T, Box<dyn std::error::Error>>;

/// Kernels store into `rgba8unorm`, which every WebGPU device can.
pub const FORMAT: wgpu::TextureFormat = wgpu::TextureFormat::Rgba8Unorm;

pub fn texture(
    device: &wgpu::Device,
    (width, height): (u32, u32),
    usage: wgpu::TextureUsages,
) -> wgpu::Texture {
    device.create_texture(&wgpu::TextureDescriptor {
        label: None,
        size: wgpu::Extent3d { width, height, depth_or_array_layers: 1 },
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format: FORMAT,
        usage,
        view_formats: &[],
    })
}

/// Writes a texture as PNG; waits for the device.
pub fn save(
    device: &wgpu::Device,
    queue: &wgpu::Queue,
    texture: &wgpu::Texture,
    path: &Path,
) -> AnyResult<()> {
    // Rows of a copy start at multiples of 256 bytes.
    let (row, pitch) = (4 * texture.width() as usize, (4 * texture.width()).next_multiple_of(256));
    let pixels = device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: (pitch * texture.height()) as u64,
        usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
        mapped_at_creation: false,
    });
    let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(pitch), rows_per_image: None };
    let mut encoder = device.create_command_encoder(&Default::default());
    let to = wgpu::TexelCopyBufferInfo { buffer: &pixels, layout };
    encoder.copy_texture_to_buffer(texture.as_image_copy(), to, texture.size());
    queue.submit([encoder.finish()]);
    pixels.map_async(wgpu::MapMode::Read, .., |result| result.expect("the buffer is ours to map"));
    device.poll(wgpu::PollType::wait_indefinitely())?;
    let bytes = pixels.get_mapped_range(..)?;
    let rows: Vec<u8> = bytes.chunks(pitch as usize).flat_map(|line| &line[..row]).copied().collect();
    image::save_buffer(path, &rows, texture.width(), texture.height(), image::ColorType::Rgba8)?;
    Ok(())
}
