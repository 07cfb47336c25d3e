// TENSOR, two elements to a word, four to an access.
fn load_TENSOR(quad: u32) -> vec4<f32> {
    return unpack(TENSOR[quad - window]);
}
