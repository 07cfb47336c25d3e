// TENSOR, where the quad is there.
fn put_TENSOR(place: u32, value: vec4<f32>, present: vec4<bool>) {
    if (present.x) {
        store_TENSOR(place, value);
    }
}
