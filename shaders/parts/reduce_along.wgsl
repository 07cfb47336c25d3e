// Channels first: a workgroup goes through the planes of one channel as one sequence of complete quads, so that short
// planes fill the lanes as well as long ones; the incomplete quads at the ends of each plane follow.
// workgroup → part (planes_per_part planes, or a chunk of one plane) and channel
// Overrides: ALIGNED is true where inner is a multiple of 4.

// Where a lane is in the sequence: quad, and its place within the complete quads of its plane.
struct Cursor {
    quad: u32,
    place: u32,
}

// The sequence: planes of `body` complete quads, `stride` apart.
struct Sequence {
    body: u32,
    stride: u32,
    skip_places: u32,     // what WORKGROUP_SIZE quads further is, within a plane
    skip_quads: u32,      // and in memory
}

fn advance(s: Sequence, cursor: ptr<function, Cursor>) -> u32 {
    let quad = (*cursor).quad;
    let place = (*cursor).place + s.skip_places;
    let over = place >= s.body;
    (*cursor).place = select(place, place - s.body, over);
    (*cursor).quad = quad + s.skip_quads + select(0u, s.stride - s.body, over);
    return quad;
}

// Loops that end with their condition: a processor that runs lanes under a mask would enter once more in vain.
fn walk(state: ptr<function, Accumulator>, s: Sequence, cursor: ptr<function, Cursor>, steps: u32) {
    var left = steps;
    if (left >= 4u) {
        loop {
            let i = advance(s, cursor);
            let j = advance(s, cursor);
            let k = advance(s, cursor);
            let l = advance(s, cursor);
            gather4(state, i, j, k, l);
            left -= 4u;
            if (left < 4u) {
                break;
            }
        }
    }
    if (left > 0u) {
        loop {
            gather(state, advance(s, cursor));
            left -= 1u;
            if (left == 0u) {
                break;
            }
        }
    }
    counted(state, steps);
}

fn reduce_part(index: u32, lane: u32) {
    let part = parameters.first_part + index / parameters.column_count;
    let channel = parameters.first_column + index % parameters.column_count;
    let first_plane = (part / parameters.chunks) * parameters.planes_per_part;
    let planes = min(parameters.planes_per_part, parameters.outer - first_plane);
    let chunk_first = (part % parameters.chunks) * parameters.chunk;
    let plane_elements = parameters.channels * parameters.inner;
    let first_start = first_plane * plane_elements + channel * parameters.inner;

    var state = begin(vec4<u32>(channel));
    anchor_spread(&state, first_start, planes, chunk_first);
    // Planes o and o + phases begin at the same place of a quad.
    for (var phase = 0u; phase < parameters.phases; phase += 1u) {
        let start = first_start + phase * plane_elements;
        let first = (start + 3u) / 4u + chunk_first;
        let end = min(first + parameters.chunk, (start + parameters.inner) / 4u);
        let body = max(end, first) - first;
        let stride = parameters.phases * plane_elements / 4u;
        let count = steps_to(phase, planes, parameters.phases) * body;
        let whole = WORKGROUP_SIZE / max(body, 1u);
        let skip = WORKGROUP_SIZE - whole * body;
        let s = Sequence(body, stride, skip, whole * stride + skip);
        let place = lane % max(body, 1u);
        var cursor = Cursor(first + lane / max(body, 1u) * stride + place, place);
        let steps = steps_to(lane, count, WORKGROUP_SIZE);
        let longest = (count + WORKGROUP_SIZE - 1u) / WORKGROUP_SIZE;
        for (var done = 0u; done < longest; done += STEPS_PER_FOLD) {
            walk(&state, s, &cursor, min(max(steps, done) - done, STEPS_PER_FOLD));
            fold(&state, EVERY);
        }
    }
    if (!ALIGNED) {
        // Each lane takes its own planes.
        let chunk_last = part % parameters.chunks == parameters.chunks - 1u;
        for (var p = lane; p < planes; p += WORKGROUP_SIZE) {
            let start = first_start + p * plane_elements;
            let end = start + parameters.inner;
            let own_tail = end % 4u != 0u && (end / 4u != start / 4u || start % 4u == 0u);
            if (chunk_first == 0u && start % 4u != 0u) {
                gather_masked(&state, start / 4u, within(start / 4u, start, end));
            }
            if (chunk_last && own_tail) {
                gather_masked(&state, end / 4u, within(end / 4u, start, end));
            }
        }
        fold(&state, EVERY);
    }

    let record = combine_lanes(state.total, lane, 1u);
    if (lane == 0u) {
        write_record(part * parameters.channels + channel, record);
    }
}
