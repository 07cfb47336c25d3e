// A difference that must not be reassociated; this device keeps it as written.
fn rounded(difference: vec4<f32>) -> vec4<f32> {
    return difference;
}
