//! From contents or size to a buffer; what the device refuses comes back as a value.

use wgpu::{Buffer, BufferUsages, Device};

use crate::error::Error;
use crate::kernel::guarded;

/// Usage of an operation's scratch.
pub(crate) const SCRATCH_USAGE: BufferUsages = BufferUsages::STORAGE;
/// Usage of an operation's parameters.
pub(crate) const PARAMETERS_USAGE: BufferUsages = BufferUsages::UNIFORM;
/// Usage of tensors and of what a layer owns: bound here and by the host's kernels, copied by its queue.
pub(crate) const STORAGE_USAGE: BufferUsages =
    BufferUsages::STORAGE.union(BufferUsages::COPY_SRC).union(BufferUsages::COPY_DST);
/// Usage of what the host maps to read.
pub(crate) const STAGING_USAGE: BufferUsages = BufferUsages::MAP_READ.union(BufferUsages::COPY_DST);

/// A buffer of so many bytes, all zero.
///
/// # Errors
/// [`Error::DeviceLimit`] above the device's largest buffer · [`Error::Device`] where memory is out
pub(crate) fn zeros(device: &Device, label: &str, size: u64, usage: BufferUsages) -> Result<Buffer, Error> {
    create(device, label, size, usage, false, |_| ())
}

/// A buffer with these bytes, padded with zeros to a multiple of 4.
///
/// # Errors
/// As [`zeros`].
pub(crate) fn filled(device: &Device, label: &str, contents: &[u8], usage: BufferUsages) -> Result<Buffer, Error> {
    let size = (contents.len() as u64).next_multiple_of(4).max(4);
    create(device, label, size, usage, true, |buffer| {
        // What the device refused has no range; the scope around tells.
        if let Ok(mut range) = buffer.get_mapped_range_mut(..) {
            range.slice(..contents.len()).copy_from_slice(contents);
        }
        buffer.unmap();
    })
}

fn create(
    device: &Device,
    label: &str,
    size: u64,
    usage: BufferUsages,
    mapped_at_creation: bool,
    fill: impl FnOnce(&Buffer),
) -> Result<Buffer, Error> {
    let limit = device.limits().max_buffer_size;
    if size > limit {
        return Err(Error::DeviceLimit { what: "a buffer", needed: size, limit, name: "max_buffer_size" });
    }
    guarded(device, &format!("the buffer `{label}`"), || {
        let descriptor = wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation };
        let buffer = device.create_buffer(&descriptor);
        fill(&buffer);
        buffer
    })
}
