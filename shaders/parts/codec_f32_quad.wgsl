// TENSOR, f32, four elements to an access.
fn load_TENSOR(quad: u32) -> vec4<f32> {
    return TENSOR[quad - window];
}
