// Two sums that the lanes of a channel add up together, of four channels or of four strands of one.
struct Totals {
    a: vec4<f32>,
    b: vec4<f32>,
}
