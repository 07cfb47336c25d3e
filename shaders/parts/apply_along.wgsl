// Channels first: a workgroup goes along planes (or a chunk of one); the channel comes from the workgroup.
// A quad belongs to the plane in which it starts, so that one invocation owns each. A line that names BLOCK is written once
// for each of the TRIP quads that a lane fetches before it writes.
// workgroup → part (planes_per_part planes, or a chunk of one plane)
fn apply_part(index: u32, lane: u32) {
    let part = parameters.first_part + index;
    let first_plane = (part / parameters.chunks) * parameters.planes_per_part;
    let end_plane = min(first_plane + parameters.planes_per_part, parameters.outer * parameters.channels);
    let chunk_first = (part % parameters.chunks) * parameters.chunk;
    var channel = first_plane % parameters.channels;
    for (var plane = first_plane; plane < end_plane; plane += 1u) {
        let start = plane * parameters.inner;
        let end = start + parameters.inner;
        let coefficients = prepare(channel);
        channel = select(channel + 1u, 0u, channel + 1u == parameters.channels);
        let begin = (start + 3u) / 4u + chunk_first;
        let complete = min(begin + parameters.chunk, end / 4u);
        var quad = begin + lane;
        // Loops that end with their condition: a processor that runs lanes under a mask would enter once more in vain.
        if (quad + (TRIP - 1u) * WORKGROUP_SIZE < complete) {
            loop {
                let fetched_BLOCK = fetch(quad + BLOCKu * WORKGROUP_SIZE);
                _ = finish(coefficients, quad + BLOCKu * WORKGROUP_SIZE, fetched_BLOCK);
                quad += TRIP * WORKGROUP_SIZE;
                if (quad + (TRIP - 1u) * WORKGROUP_SIZE >= complete) {
                    break;
                }
            }
        }
        if (quad < complete) {
            loop {
                _ = finish(coefficients, quad, fetch(quad));
                quad += WORKGROUP_SIZE;
                if (quad >= complete) {
                    break;
                }
            }
        }
        if (!ALIGNED) {
            // The quad that runs over into the next plane, which is longer than a quad.
            if (lane == 0u && end % 4u != 0u && begin <= end / 4u && end / 4u < begin + parameters.chunk) {
                let next = prepare(channel);
                _ = finish(either(coefficients, next, within(end / 4u, start, end)), end / 4u, fetch(end / 4u));
            }
        }
    }
}
