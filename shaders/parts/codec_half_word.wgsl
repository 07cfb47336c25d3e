// TENSOR, two elements to a word, one word to an access: the last quad may be incomplete.
fn load_TENSOR(quad: u32) -> vec4<f32> {
    let first = 2u * (quad - window);
    let last = (bound_elements + 1u) / 2u - 1u;
    return unpack(vec2<u32>(TENSOR[min(first, last)], TENSOR[min(first + 1u, last)]));
}
