// bfloat16 is the upper half of an f32; rounding is to nearest even, by integers, the same on every device.
fn unpack(words: vec2<u32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(vec4<u32>(
        words.x << 16u, words.x & 0xffff0000u, words.y << 16u, words.y & 0xffff0000u,
    ));
}

fn pack(value: vec4<f32>) -> vec2<u32> {
    let bits = bitcast<vec4<u32>>(value);
    let nearest = (bits + vec4<u32>(0x7fffu) + ((bits >> vec4<u32>(16u)) & vec4<u32>(1u))) >> vec4<u32>(16u);
    // NaN stays NaN: quiet, with the upper payload bits kept.
    let not_a_number = (bits >> vec4<u32>(16u)) | vec4<u32>(0x40u);
    let half = select(nearest, not_a_number, (bits & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u));
    return vec2<u32>(half.x | (half.y << 16u), half.z | (half.w << 16u));
}
