// TENSOR, f32, one element to an access: the last quad may be incomplete, and then repeats the last element.
fn load_TENSOR(quad: u32) -> vec4<f32> {
    let first = 4u * (quad - window);
    let last = bound_elements - 1u;
    return vec4<f32>(
        TENSOR[min(first, last)],
        TENSOR[min(first + 1u, last)],
        TENSOR[min(first + 2u, last)],
        TENSOR[min(first + 3u, last)],
    );
}
