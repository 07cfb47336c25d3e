//! What a plan must know of a device, as plain numbers.

/// What kind of processor an adapter is; the built-in tuning differs by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AdapterKind {
    /// A software adapter: lavapipe, SwiftShader, WARP.
    Cpu,
    /// A graphics processor.
    Gpu,
}

/// The device's limits and kind, as far as a plan depends on them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceFacts {
    /// Software or hardware.
    pub kind: AdapterKind,
    /// Smallest number of invocations that run in lockstep, 0 where the device does not say.
    pub subgroup_size: u32,
    /// `max_compute_invocations_per_workgroup`, and no more than `max_compute_workgroup_size_x`.
    pub workgroup_size: u32,
    /// `max_compute_workgroups_per_dimension`.
    pub workgroups_per_dimension: u32,
    /// `max_compute_workgroup_storage_size`, in bytes.
    pub workgroup_memory: u32,
    /// `max_storage_buffers_per_shader_stage`.
    pub storage_buffers: u32,
    /// `max_storage_buffer_binding_size`, in bytes.
    pub binding_bytes: u64,
    /// `max_buffer_size`, in bytes.
    pub buffer_bytes: u64,
    /// `min_storage_buffer_offset_alignment`, in bytes.
    pub offset_alignment: u64,
    /// Whether shaders have integers of 64 bits: `Features::SHADER_INT64`.
    pub shader_int64: bool,
}

impl DeviceFacts {
    /// The least that any WebGPU device offers, on a graphics processor.
    pub const FLOOR: DeviceFacts = DeviceFacts {
        kind: AdapterKind::Gpu,
        subgroup_size: 0,
        workgroup_size: 256,
        workgroups_per_dimension: 65_535,
        workgroup_memory: 16_384,
        storage_buffers: 8,
        binding_bytes: 128 << 20,
        buffer_bytes: 256 << 20,
        offset_alignment: 256,
        shader_int64: false,
    };

    /// A software adapter at WebGPU's default limits, with lavapipe's eight lanes.
    pub const SOFTWARE: DeviceFacts = DeviceFacts { kind: AdapterKind::Cpu, subgroup_size: 8, ..Self::FLOOR };
}
