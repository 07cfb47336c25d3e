// IEEE half precision, by integers, the same on every device: the built-in leaves rounding and overflow open.
// Rounding is to nearest even, overflow goes to infinity, subnormal halves are kept.
fn unpack(words: vec2<u32>) -> vec4<f32> {
    let half = vec4<u32>(words.x & 0xffffu, words.x >> 16u, words.y & 0xffffu, words.y >> 16u);
    let magnitude = half & vec4<u32>(0x7fffu);
    let sign = (half & vec4<u32>(0x8000u)) << vec4<u32>(16u);
    // Rebiased by 112; Inf and NaN by 112 more.
    let normal = (magnitude << vec4<u32>(13u))
        + select(vec4<u32>(0x38000000u), vec4<u32>(0x70000000u), magnitude >= vec4<u32>(0x7c00u));
    // 2^-24 to a unit: exact, and never a subnormal f32.
    let subnormal = bitcast<vec4<u32>>(vec4<f32>(magnitude) * 5.9604644775390625e-8);
    return bitcast<vec4<f32>>(sign | select(normal, subnormal, magnitude < vec4<u32>(0x400u)));
}

fn pack(value: vec4<f32>) -> vec2<u32> {
    let bits = bitcast<vec4<u32>>(value);
    let magnitude = bits & vec4<u32>(0x7fffffffu);
    let sign = (bits >> vec4<u32>(16u)) & vec4<u32>(0x8000u);
    // Normal halves: half of the dropped bits' weight less one, plus the lowest kept bit, carries to the nearest even.
    let rebased = magnitude - vec4<u32>(0x38000000u);
    let normal = (rebased + vec4<u32>(0xfffu) + ((rebased >> vec4<u32>(13u)) & vec4<u32>(1u))) >> vec4<u32>(13u);
    // Subnormal halves: the significand is shifted to units of 2^-24.
    let exponent = magnitude >> vec4<u32>(23u);
    let shift = min(vec4<u32>(126u) - min(exponent, vec4<u32>(125u)), vec4<u32>(31u));
    let significand = (magnitude & vec4<u32>(0x7fffffu)) | vec4<u32>(0x800000u);
    let kept = significand >> shift;
    let rest = significand & ((vec4<u32>(1u) << shift) - vec4<u32>(1u));
    let middle = vec4<u32>(1u) << (shift - vec4<u32>(1u));
    let up = (rest > middle) | ((rest == middle) & ((kept & vec4<u32>(1u)) == vec4<u32>(1u)));
    let subnormal = kept + select(vec4<u32>(0u), vec4<u32>(1u), up);
    // 65520 and above round to infinity; below 2^-14 the half is subnormal.
    var half = select(normal, subnormal, magnitude < vec4<u32>(0x38800000u));
    half = select(half, vec4<u32>(0x7c00u), magnitude >= vec4<u32>(0x477ff000u));
    half = select(half, vec4<u32>(0x7e00u), magnitude > vec4<u32>(0x7f800000u));
    half |= sign;
    return vec2<u32>(half.x | (half.y << 16u), half.z | (half.w << 16u));
}
