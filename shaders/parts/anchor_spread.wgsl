// An anchor from four values spread over a part of a channel, so that an unlike beginning does not mislead.
fn anchor_spread(state: ptr<function, Accumulator>, first_start: u32, planes: u32, chunk_first: u32) {
    anchor(
        state,
        sample(first_start, planes, chunk_first, 0u),
        sample(first_start, planes, chunk_first, 1u),
        sample(first_start, planes, chunk_first, 2u),
        sample(first_start, planes, chunk_first, 3u),
    );
}

fn sample(first_start: u32, planes: u32, chunk_first: u32, k: u32) -> vec4<f32> {
    let plane = (planes - 1u) * k / 3u;
    let span = min(4u * parameters.chunk, parameters.inner - min(4u * chunk_first, parameters.inner - 1u));
    let element = first_start + plane * parameters.channels * parameters.inner
        + min(4u * chunk_first, parameters.inner - 1u) + (span - 1u) / 3u * k;
    return vec4<f32>(load_x(element / 4u)[element % 4u]);
}
