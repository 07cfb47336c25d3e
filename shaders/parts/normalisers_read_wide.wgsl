// The normaliser of a channel, as what finished the channel left it, two numbers to a word.
fn normaliser_of(channel: u32) -> vec4<f32> {
    let words = normalisers[channel];
    return bitcast<vec4<f32>>(vec4<u32>(u32(words.x), u32(words.x >> 32u), u32(words.y), u32(words.y >> 32u)));
}
