fn store_TENSOR(quad: u32, value: vec4<f32>) {
    TENSOR[quad - window] = pack(value);
}
