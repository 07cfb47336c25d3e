fn store_TENSOR(quad: u32, value: vec4<f32>) {
    let first = 4u * (quad - window);
    let elements = bound_elements;
    TENSOR[first] = value.x;
    if (first + 1u < elements) {
        TENSOR[first + 1u] = value.y;
    }
    if (first + 2u < elements) {
        TENSOR[first + 2u] = value.z;
    }
    if (first + 3u < elements) {
        TENSOR[first + 3u] = value.w;
    }
}
