// Channels first: each lane goes along its own planes, from quad to quad, and meets no other. For processors to which it is
// the same where the lanes of a workgroup read.
// workgroup → LANES_X channels × as many parts (planes_per_part planes, or a chunk of one) as there are lanes for
// Overrides: ALIGNED is true where inner is a multiple of 4.

// What lies in a plane from place on, at most STEPS_PER_FOLD quads of one chunk.
fn gather_stretch(state: ptr<function, Accumulator>, start: u32, chunk_index: u32, place: u32) {
    let end = start + parameters.inner;
    if (!ALIGNED) {
        if (chunk_index == 0u && place == 0u && start % 4u != 0u) {
            gather_masked(state, start / 4u, within(start / 4u, start, end));
        }
    }
    var quad = (start + 3u) / 4u + chunk_index * parameters.chunk + place;
    let stop = max(quad, min(quad + min(STEPS_PER_FOLD, parameters.chunk - place), end / 4u));
    counted(state, stop - quad);
    // Loops that end with their condition: a processor that runs lanes under a mask would enter once more in vain.
    if (quad + 3u < stop) {
        loop {
            gather4(state, quad, quad + 1u, quad + 2u, quad + 3u);
            quad += 4u;
            if (quad + 3u >= stop) {
                break;
            }
        }
    }
    if (quad < stop) {
        loop {
            gather(state, quad);
            quad += 1u;
            if (quad >= stop) {
                break;
            }
        }
    }
    if (!ALIGNED) {
        let own_tail = end % 4u != 0u && (end / 4u != start / 4u || start % 4u == 0u);
        let ends = chunk_index == parameters.chunks - 1u && place + STEPS_PER_FOLD >= parameters.chunk;
        if (ends && own_tail) {
            gather_masked(state, end / 4u, within(end / 4u, start, end));
        }
    }
}

fn reduce_part(index: u32, lane: u32) {
    let lanes_y = WORKGROUP_SIZE / LANES_X;
    let part = (parameters.first_part + index / parameters.column_count) * lanes_y + lane / LANES_X;
    let channel = (parameters.first_column + index % parameters.column_count) * LANES_X + lane % LANES_X;
    if (lane >= lanes_y * LANES_X || part >= parameters.slots || channel >= parameters.channels) {
        return;
    }
    let first_plane = part / parameters.chunks * parameters.planes_per_part;
    let planes = min(parameters.planes_per_part, parameters.outer - first_plane);
    let chunk_index = part % parameters.chunks;
    let plane_elements = parameters.channels * parameters.inner;
    let first_start = first_plane * plane_elements + channel * parameters.inner;

    var state = begin(vec4<u32>(channel));
    anchor_spread(&state, first_start, planes, chunk_index * parameters.chunk);
    var gathered = 0u;
    for (var plane = 0u; plane < planes; plane += 1u) {
        var place = 0u;
        loop {
            gather_stretch(&state, first_start + plane * plane_elements, chunk_index, place);
            gathered += min(STEPS_PER_FOLD, parameters.chunk - place);
            if (gathered >= STEPS_PER_FOLD) {
                fold(&state, EVERY);
                gathered = 0u;
            }
            place += STEPS_PER_FOLD;
            if (place >= parameters.chunk) {
                break;
            }
        }
    }
    fold(&state, EVERY);
    write_record(part * parameters.channels + channel, combine_strands(state.total));
}
