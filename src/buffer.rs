//! From contents or size to a buffer; what the device refuses comes back as a value.

use wgpu::{Buffer, BufferUsages, Device};

use crate::error::Error;
use crate::kernel::{guarded, guarded_async};

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
/// [`Error::DeviceLimit`] above the device's largest buffer · [`Error::Device`] where memory is out, which a browser tells
/// later
pub(crate) fn zeros(device: &Device, label: &str, size: u64, usage: BufferUsages) -> Result<Buffer, Error> {
    create(device, label, size, usage, false, |_| ())
}

/// [`zeros`], which waits until the device has told whether it has the memory.
///
/// # Errors
/// As [`zeros`].
pub(crate) async fn zeros_async(device: &Device, label: &str, size: u64, usage: BufferUsages) -> Result<Buffer, Error> {
    check_size(device, size)?;
    guarded_async(device, &named(label), || device.create_buffer(&descriptor(label, size, usage, false))).await
}

/// A buffer with these bytes, padded with zeros to a multiple of 4.
///
/// # Errors
/// As [`zeros`].
pub(crate) fn filled(device: &Device, label: &str, contents: &[u8], usage: BufferUsages) -> Result<Buffer, Error> {
    let size = (contents.len() as u64).next_multiple_of(4).max(4);
    create(device, label, size, usage, true, |buffer| {
        // What the device refused has no range, nor can it be unmapped; the scope around tells.
        if let Ok(mut range) = buffer.get_mapped_range_mut(..) {
            range.slice(..contents.len()).copy_from_slice(contents);
            drop(range);
            buffer.unmap();
        }
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
    check_size(device, size)?;
    guarded(device, &named(label), || {
        let buffer = device.create_buffer(&descriptor(label, size, usage, mapped_at_creation));
        fill(&buffer);
        buffer
    })
}

fn check_size(device: &Device, size: u64) -> Result<(), Error> {
    let limit = device.limits().max_buffer_size;
    if size > limit {
        return Err(Error::DeviceLimit { what: "a buffer", needed: size, limit, name: "max_buffer_size" });
    }
    Ok(())
}

fn named(label: &str) -> String {
    format!("the buffer `{label}`")
}

fn descriptor(label: &str, size: u64, usage: BufferUsages, mapped_at_creation: bool) -> wgpu::BufferDescriptor<'_> {
    wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation }
}
