//! Upload and readback that work in a browser too.

use super::Gpu;
use crate::error::{Error, Result};

impl Gpu {
    /// Writes bytes of any length; buffers of tensors are padded, so the tail is written as zeros.
    pub(crate) fn write(&self, buffer: &wgpu::Buffer, offset: u64, bytes: &[u8]) -> Result<()> {
        let whole = bytes.len() & !3;
        self.caught("write", || {
            if whole > 0 {
                self.queue().write_buffer(buffer, offset, &bytes[..whole]);
            }
            if whole < bytes.len() {
                let mut tail = [0; 4];
                tail[..bytes.len() - whole].copy_from_slice(&bytes[whole..]);
                self.queue().write_buffer(buffer, offset + whole as u64, &tail);
            }
        })
    }

    /// Copies `bytes` (a multiple of 4) to the host once the work submitted so far is done.
    pub(crate) async fn read(&self, buffer: &wgpu::Buffer, offset: u64, bytes: u64) -> Result<Vec<u8>> {
        if bytes == 0 {
            return Ok(Vec::new());
        }
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let staging = self.buffer("readback", bytes, usage)?;
        let (sender, receiver) = flume::bounded(1);
        self.caught("readback", || {
            let mut encoder = self.device().create_command_encoder(&Default::default());
            encoder.copy_buffer_to_buffer(buffer, offset, &staging, 0, bytes);
            self.submit(encoder.finish());
            staging.map_async(wgpu::MapMode::Read, .., move |result| {
                let _ = sender.send(result);
            });
        })?;
        self.poll()?;
        let mapped =
            receiver.recv_async().await.map_err(|_| Error::DeviceLost("readback was dropped".into()))?;
        if mapped.is_err() {
            // A browser may say that the device is gone only after it has refused the mapping.
            self.wait().await?;
        }
        self.check_lost()?;
        mapped.map_err(|error| Error::Validation(format!("readback: {error}")))?;
        let view =
            staging.get_mapped_range(..).map_err(|error| Error::Validation(format!("readback: {error}")))?;
        Ok(view.to_vec())
    }
}
