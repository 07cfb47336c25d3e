fn store_TENSOR(quad: u32, value: vec4<f32>) {
    let bits = bitcast<vec4<u32>>(value);
    TENSOR[quad - window] = vec2<u64>(u64(bits.x) | (u64(bits.y) << 32u), u64(bits.z) | (u64(bits.w) << 32u));
}
