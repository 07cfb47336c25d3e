fn put_TENSOR(place: vec4<u32>, value: vec4<f32>, present: vec4<bool>) {
    if (present.x) {
        TENSOR[place.x] = value.x;
    }
    if (present.y) {
        TENSOR[place.y] = value.y;
    }
    if (present.z) {
        TENSOR[place.z] = value.z;
    }
    if (present.w) {
        TENSOR[place.w] = value.w;
    }
}
