// What a column needs in a sweep along rows, and what is left of it after.
alias Entering = vec4<f32>;    // the anchor

struct Leaving {
    anchor: vec4<f32>,
    sum: vec4<f32>,
    square: vec4<f32>,
}

fn entering_with(state: ptr<function, Accumulator>) -> Entering {
    return (*state).anchor;
}

fn entered(anchor: Entering) -> Accumulator {
    return Accumulator(neutral(), anchor, vec4<f32>(0.0), vec4<f32>(0.0), vec4<u32>(0u));
}

fn leaving_with(state: ptr<function, Accumulator>) -> Leaving {
    return Leaving((*state).anchor, (*state).sum, (*state).square);
}

// So many quads were gathered.
fn left(l: Leaving, quads: u32) -> Accumulator {
    return Accumulator(neutral(), l.anchor, l.sum, l.square, vec4<u32>(quads));
}

// An anchor needs nothing for more values.
fn renew(state: ptr<function, Accumulator>, channel: vec4<u32>) {}
