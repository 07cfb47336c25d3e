fn store_TENSOR(quad: u32, value: vec4<f32>) {
    let first = 4u * (quad - parameters.window);
    let elements = parameters.elements - 4u * parameters.window;
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
