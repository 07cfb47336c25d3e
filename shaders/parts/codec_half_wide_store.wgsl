fn store_TENSOR(quad: u32, value: vec4<f32>) {
    let words = pack(value);
    TENSOR[quad - window] = u64(words.x) | (u64(words.y) << 32u);
}
