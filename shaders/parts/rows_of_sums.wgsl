// What a column needs in a sweep along rows, and what is left of it after.
alias Entering = Normaliser;

struct Leaving {
    dy: vec4<f32>,
    dy_centred: vec4<f32>,
}

fn entering_with(state: ptr<function, Accumulator>) -> Entering {
    return (*state).normaliser;
}

fn entered(n: Entering) -> Accumulator {
    return Accumulator(neutral(), n, vec4<f32>(0.0), vec4<f32>(0.0));
}

fn leaving_with(state: ptr<function, Accumulator>) -> Leaving {
    return Leaving((*state).dy, (*state).dy_centred);
}

// Sums need no count.
fn left(l: Leaving, quads: u32) -> Accumulator {
    let none = vec4<f32>(0.0);
    return Accumulator(neutral(), Normaliser(none, none, none, none), l.dy, l.dy_centred);
}

// For more values than were swept.
fn renew(state: ptr<function, Accumulator>, channel: vec4<u32>) {
    (*state).normaliser = prepare4(channel);
}
