// What the columns of a lane need before a sweep along rows, and in its place what it gathered of them: each lane uses its
// own slots.
var<workgroup> kept: array<Normaliser, GROUP>;

fn keep(slot: u32, state: ptr<function, Accumulator>) {
    kept[slot] = (*state).normaliser;
}

fn resume(slot: u32) -> Accumulator {
    return Accumulator(neutral(), kept[slot], vec4<f32>(0.0), vec4<f32>(0.0));
}

fn keep_gathered(slot: u32, state: ptr<function, Accumulator>) {
    kept[slot].anchor = (*state).dy;
    kept[slot].offset = (*state).dy_centred;
}

fn resume_gathered(slot: u32, quads: u32) -> Accumulator {
    let none = vec4<f32>(0.0);
    return Accumulator(neutral(), Normaliser(none, none, none, none), kept[slot].anchor, kept[slot].offset);
}

// For more values than were swept.
fn renew(state: ptr<function, Accumulator>, channel: vec4<u32>) {
    (*state).normaliser = normaliser4(channel);
}
