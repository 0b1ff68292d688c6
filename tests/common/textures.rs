//! Textures of eight bits per channel, written and read by the host.
#![allow(dead_code)]

use crate::common::gpu;
use gristmill::wgpu;

pub fn texture(width: u32, height: u32, usage: wgpu::TextureUsages) -> wgpu::Texture {
    gpu().device().create_texture(&wgpu::TextureDescriptor {
        label: None,
        size: wgpu::Extent3d { width, height, depth_or_array_layers: 1 },
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format: wgpu::TextureFormat::Rgba8Unorm,
        usage,
        view_formats: &[],
    })
}

pub fn write_texture(texture: &wgpu::Texture, bytes: &[u8]) {
    let layout = wgpu::TexelCopyBufferLayout {
        offset: 0,
        bytes_per_row: Some(4 * texture.width()),
        rows_per_image: None,
    };
    gpu().queue().write_texture(texture.as_image_copy(), bytes, layout, texture.size());
}

/// The texture's bytes; rows of a copy begin at multiples of 256.
pub fn read_texture(texture: &wgpu::Texture) -> Vec<u8> {
    let (row, pitch) = (4 * texture.width() as usize, (4 * texture.width()).next_multiple_of(256));
    let staging = gpu().device().create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: (pitch * texture.height()) as u64,
        usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
        mapped_at_creation: false,
    });
    let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(pitch), rows_per_image: None };
    let mut encoder = gpu().device().create_command_encoder(&Default::default());
    let target = wgpu::TexelCopyBufferInfo { buffer: &staging, layout };
    encoder.copy_texture_to_buffer(texture.as_image_copy(), target, texture.size());
    gpu().queue().submit([encoder.finish()]);
    staging.map_async(wgpu::MapMode::Read, .., |result| result.unwrap());
    pollster::block_on(gpu().wait()).unwrap();
    let bytes = staging.get_mapped_range(..).unwrap().to_vec();
    bytes.chunks(pitch as usize).flat_map(|line| line[..row].to_vec()).collect()
}
