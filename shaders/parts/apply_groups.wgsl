// Groups of 32 elements, one to an invocation, which so owns a whole word of the mask.
// workgroup → part (chunk groups); the channel comes by division
// Overrides: ALIGNED is true where inner is a multiple of 4, so that a quad has one channel.
fn apply_part(index: u32, lane: u32) {
    let part = parameters.first_part + index;
    let quads = (parameters.elements + 3u) / 4u;
    let end = min((part + 1u) * parameters.chunk, (quads + 7u) / 8u);
    for (var group = part * parameters.chunk + lane; group < end; group += WORKGROUP_SIZE) {
        var word = 0u;
        for (var place = 0u; place < 8u; place += 1u) {
            let quad = 8u * group + place;
            if (quad < quads) {
                var positive = EVERY;
                if (ALIGNED) {
                    positive = finish(prepare(4u * quad / parameters.inner % parameters.channels), quad, fetch(quad));
                } else {
                    positive = finish(prepare4(channels_of(quad)), quad, fetch(quad));
                }
                let bits = dot(vec4<u32>(1u, 2u, 4u, 8u), select(vec4<u32>(0u), vec4<u32>(1u),
                    positive & within(quad, 0u, parameters.elements)));
                word |= bits << (4u * place);
            }
        }
        mask[group] = word;
    }
}
