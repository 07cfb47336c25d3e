//! How an element of `x`, `y`, `dy` and `dx` is stored.

/// The storage type of an operation's large tensors; arithmetic, statistics and parameters are always f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE 754 single precision, 4 bytes.
    #[default]
    F32,
    /// IEEE 754 half precision, 2 bytes, packed two to a `u32`.
    F16,
    /// bfloat16 (the upper half of an f32), 2 bytes, packed two to a `u32`.
    Bf16,
}

impl DType {
    /// Every storage type.
    pub const ALL: [DType; 3] = [DType::F32, DType::F16, DType::Bf16];

    /// Size of one element in bytes.
    pub const fn bytes(self) -> u64 {
        match self {
            DType::F32 => 4,
            DType::F16 | DType::Bf16 => 2,
        }
    }

    /// Bytes of a densely packed tensor of `elements` elements, rounded up to the 4 bytes that a storage binding
    /// is made of.
    pub const fn tensor_bytes(self, elements: u64) -> u64 {
        (elements * self.bytes()).next_multiple_of(4)
    }

    /// The name that files and tables use: `f32`, `f16` or `bf16`.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::Bf16 => "bf16",
        }
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
