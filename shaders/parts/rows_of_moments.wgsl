// What the columns of a lane need before a sweep along rows, and what it gathered of them: each lane uses its own slots.
struct Gathered {
    sum: vec4<f32>,
    square: vec4<f32>,
}

var<workgroup> anchors: array<vec4<f32>, GROUP>;
var<workgroup> gathered: array<Gathered, GROUP>;

fn keep(slot: u32, state: ptr<function, Accumulator>) {
    anchors[slot] = (*state).anchor;
}

fn resume(slot: u32) -> Accumulator {
    return Accumulator(neutral(), anchors[slot], vec4<f32>(0.0), vec4<f32>(0.0), vec4<u32>(0u));
}

fn keep_gathered(slot: u32, state: ptr<function, Accumulator>) {
    gathered[slot] = Gathered((*state).sum, (*state).square);
}

fn resume_gathered(slot: u32, quads: u32) -> Accumulator {
    let g = gathered[slot];
    return Accumulator(neutral(), anchors[slot], g.sum, g.square, vec4<u32>(quads));
}

// An anchor needs nothing for more values.
fn renew(state: ptr<function, Accumulator>, channel: vec4<u32>) {}
