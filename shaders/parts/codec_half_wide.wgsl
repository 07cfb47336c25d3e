// TENSOR, four elements to a word, and to an access.
fn load_TENSOR(quad: u32) -> vec4<f32> {
    let word = TENSOR[quad - window];
    return unpack(vec2<u32>(u32(word), u32(word >> 32u)));
}
