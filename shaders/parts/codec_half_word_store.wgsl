// The upper half of the last word is not ours where the count is odd: its bits are kept.
fn store_TENSOR(quad: u32, value: vec4<f32>) {
    let first = 2u * (quad - window);
    let elements = bound_elements;
    let words = pack(value);
    let lower = select(0xffffu, 0xffffffffu, 2u * first + 1u < elements);
    TENSOR[first] = (words.x & lower) | (TENSOR[first] & ~lower);
    if (2u * first + 2u < elements) {
        let upper = select(0xffffu, 0xffffffffu, 2u * first + 3u < elements);
        TENSOR[first + 1u] = (words.y & upper) | (TENSOR[first + 1u] & ~upper);
    }
}
