// A value that the compiler must not look into: its bits pass through an integer operation with a zero that the
// compiler does not know.
fn opaque(value: vec4<f32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(bitcast<vec4<u32>>(value) ^ vec4<u32>(parameters.zero));
}
