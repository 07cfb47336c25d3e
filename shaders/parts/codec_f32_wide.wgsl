// TENSOR, f32, four elements to an access, two to a word.
fn load_TENSOR(quad: u32) -> vec4<f32> {
    let words = TENSOR[quad - window];
    return bitcast<vec4<f32>>(vec4<u32>(u32(words.x), u32(words.x >> 32u), u32(words.y), u32(words.y >> 32u)));
}
