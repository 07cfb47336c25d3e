// TENSOR, f32, four elements that need not be neighbours.
fn load_TENSOR(place: vec4<u32>) -> vec4<f32> {
    return vec4<f32>(TENSOR[place.x], TENSOR[place.y], TENSOR[place.z], TENSOR[place.w]);
}
