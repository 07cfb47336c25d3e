// What maps dz and x of a channel to dx, for the four elements of a quad.
struct Gradient {
    normaliser: Normaliser,
    mean_dy: vec4<f32>,
    projection: vec4<f32>,
}
