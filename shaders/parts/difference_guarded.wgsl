// A difference that must not be reassociated, on a device whose fast math would.
fn rounded(difference: vec4<f32>) -> vec4<f32> {
    return opaque(difference);
}
