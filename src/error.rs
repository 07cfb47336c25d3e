//! Everything that can go wrong, found before anything is recorded.

/// Why a call was refused. Each names the argument and carries both numbers; nothing was recorded or changed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The channel axis does not exist.
    #[error("axis {axis} is out of range for a tensor of rank {rank}")]
    AxisOutOfRange {
        /// The axis asked for.
        axis: isize,
        /// The tensor's rank.
        rank: usize,
    },
    /// The channel dimension is 0.
    #[error("axis {axis} has 0 channels; at least 1 is needed")]
    NoChannels {
        /// The channel axis.
        axis: usize,
    },
    /// The tensor has more elements than can be indexed.
    #[error("a tensor of dimensions {dimensions:?} has more than {limit} elements; split the batch")]
    TooManyElements {
        /// The dimensions asked for.
        dimensions: Vec<usize>,
        /// The most elements that a tensor may have.
        limit: u64,
    },
    /// A number must be finite.
    #[error("`{argument}` is {value}; a finite number is needed")]
    NotFinite {
        /// Which number.
        argument: &'static str,
        /// Its value.
        value: f32,
    },
    /// A number must not be negative.
    #[error("`{argument}` is {value}; it must not be negative")]
    Negative {
        /// Which number.
        argument: &'static str,
        /// Its value.
        value: f32,
    },
    /// An unbiased variance divides by `m − 1`.
    #[error(
        "an unbiased running variance needs at least 2 values per channel; this shape has {values} \
         (use RunningVariance::Population)"
    )]
    TooFewValues {
        /// Values per channel.
        values: u32,
    },
    /// A slice is smaller than its tensor.
    #[error("`{argument}` holds {bytes} bytes; its shape needs {needed}")]
    TooSmall {
        /// Which argument.
        argument: &'static str,
        /// Size of the slice in bytes.
        bytes: u64,
        /// Bytes that the shape needs.
        needed: u64,
    },
    /// An array on the host has the wrong shape.
    #[error("`{argument}` has dimensions {dimensions:?}; {needed:?} are needed")]
    WrongDimensions {
        /// Which argument.
        argument: &'static str,
        /// Its dimensions.
        dimensions: Vec<usize>,
        /// The dimensions needed.
        needed: Vec<usize>,
    },
    /// A tensor's channels are not the layer's.
    #[error("this shape has {channels} channels; the layer has {needed}")]
    WrongChannels {
        /// Channels of the shape.
        channels: u32,
        /// Channels of the layer.
        needed: u32,
    },
    /// A slice starts where this device cannot bind it.
    #[error(
        "`{argument}` starts at byte {offset} of its buffer; this device needs multiples of {alignment} \
         (min_storage_buffer_offset_alignment)"
    )]
    Misaligned {
        /// Which argument.
        argument: &'static str,
        /// Where the slice starts, in bytes.
        offset: u64,
        /// What the offset must be a multiple of, in bytes.
        alignment: u64,
    },
    /// A buffer was created without a usage it needs.
    #[error("the buffer of `{argument}` lacks the usage {usage}; it has {has}")]
    MissingUsage {
        /// Which argument.
        argument: &'static str,
        /// The usage needed.
        usage: &'static str,
        /// The usages that the buffer has.
        has: String,
    },
    /// Two arguments share bytes and at least one is written.
    #[error(
        "`{first}` (bytes {first_start}..{first_end}) and `{second}` (bytes {second_start}..{second_end}) \
         overlap in one buffer and at least one of them is written"
    )]
    Overlap {
        /// One argument.
        first: &'static str,
        /// First byte of the one.
        first_start: u64,
        /// One past the last byte of the one.
        first_end: u64,
        /// The other argument.
        second: &'static str,
        /// First byte of the other.
        second_start: u64,
        /// One past the last byte of the other.
        second_end: u64,
    },
    /// The configuration needs an argument that is absent.
    #[error("`{argument}` is absent; {reason}")]
    Missing {
        /// Which argument.
        argument: &'static str,
        /// Why it is needed.
        reason: &'static str,
    },
    /// The configuration has no use for an argument that is present.
    #[error("`{argument}` is given but not used: {reason}")]
    Unexpected {
        /// Which argument.
        argument: &'static str,
        /// Why it is not used.
        reason: &'static str,
    },
    /// The device cannot do as much.
    #[error("{what} needs {needed}; this device allows {limit} ({name})")]
    DeviceLimit {
        /// What was asked for.
        what: &'static str,
        /// How much it needs.
        needed: u64,
        /// How much the device allows.
        limit: u64,
        /// The name of the limit in `wgpu::Limits`.
        name: &'static str,
    },
    /// The device refused to create something; the text is the driver's or wgpu's.
    #[error("the device refused {what}: {message}")]
    Device {
        /// What was being created.
        what: String,
        /// What the device said.
        message: String,
    },
    /// The file or the state is not what it should be.
    #[error("{0}")]
    State(String),
    /// No adapter suits.
    #[error("{0}")]
    NoAdapter(String),
}
