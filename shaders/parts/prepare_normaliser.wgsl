// Of a channel, a kernel needs the normaliser alone.
alias Prepared = Normaliser;

fn prepare(channel: u32) -> Normaliser {
    return normaliser(channel);
}

fn either(a: Normaliser, b: Normaliser, mask: vec4<bool>) -> Normaliser {
    return either_normaliser(a, b, mask);
}
