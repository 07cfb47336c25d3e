// A difference that must not be reassociated, on a device whose fast math would: the bits pass through an integer
// operation with a zero that the compiler does not know.
fn rounded(difference: vec4<f32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(bitcast<vec4<u32>>(difference) ^ vec4<u32>(parameters.zero));
}
