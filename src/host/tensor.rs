//! A buffer that knows its shape.

use half::{bf16, f16};
use ndarray::{ArrayD, ArrayViewD, IxDyn};

use super::Gpu;
use crate::dtype::DType;
use crate::error::Error;
use crate::shape::Shape;

/// A tensor on the device: densely packed, row-major, in a storage type.
#[derive(Clone, Debug)]
pub struct Tensor {
    buffer: wgpu::Buffer,
    shape: Shape,
    dtype: DType,
}

impl Tensor {
    /// A tensor of zeros.
    ///
    /// # Errors
    /// As [`Gpu::buffer`].
    pub fn zeros(gpu: &Gpu, shape: &Shape, dtype: DType) -> Result<Self, Error> {
        let bytes = dtype.tensor_bytes(u64::from(shape.elements()));
        Ok(Self { buffer: gpu.empty("tensor", bytes)?, shape: shape.clone(), dtype })
    }

    /// Uploads an array of any layout, rounded to the storage type (to nearest even).
    ///
    /// # Errors
    /// What [`Shape::new`] and [`Gpu::buffer`] refuse.
    pub fn upload(gpu: &Gpu, array: ArrayViewD<'_, f32>, axis: isize, dtype: DType) -> Result<Self, Error> {
        let shape = Shape::new(array.shape(), axis)?;
        // `iter` goes in logical order whatever the strides are.
        let bytes = encode(array.iter().copied(), dtype);
        Ok(Self { buffer: gpu.buffer("tensor", &bytes)?, shape, dtype })
    }

    /// Downloads the tensor as f32.
    ///
    /// # Errors
    /// As [`Gpu::read`].
    pub async fn download(&self, gpu: &Gpu) -> Result<ArrayD<f32>, Error> {
        let elements = u64::from(self.shape.elements());
        let bytes = gpu.read(&self.buffer, elements * self.dtype.bytes()).await?;
        ArrayD::from_shape_vec(IxDyn(self.shape.dimensions()), decode(&bytes, self.dtype))
            .map_err(|error| Error::State(error.to_string()))
    }

    /// The whole buffer.
    pub fn slice(&self) -> wgpu::BufferSlice<'_> {
        self.buffer.slice(..)
    }

    /// The buffer.
    pub fn buffer(&self) -> &wgpu::Buffer {
        &self.buffer
    }

    /// The shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The storage type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }
}

/// The bytes of f32 values in a storage type, each rounded to nearest even.
pub fn encode(values: impl Iterator<Item = f32>, dtype: DType) -> Vec<u8> {
    match dtype {
        DType::F32 => values.flat_map(f32::to_le_bytes).collect(),
        DType::F16 => values.flat_map(|v| f16::from_f32(v).to_le_bytes()).collect(),
        DType::Bf16 => values.flat_map(|v| bf16::from_f32(v).to_le_bytes()).collect(),
    }
}

/// The values of bytes in a storage type.
pub fn decode(bytes: &[u8], dtype: DType) -> Vec<f32> {
    let halves = || bytes.chunks_exact(2).map(|b| [b[0], b[1]]);
    match dtype {
        DType::F32 => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        DType::F16 => halves().map(|b| f16::from_le_bytes(b).to_f32()).collect(),
        DType::Bf16 => halves().map(|b| bf16::from_le_bytes(b).to_f32()).collect(),
    }
}
