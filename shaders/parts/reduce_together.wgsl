// Channels first: each lane goes along its own neighbouring planes, as many as end together where a quad ends, and meets no other
// lane in any quad, so that all lanes do the same at the same time. A line that names PLANE is written once for each of them, one that
// names BEFORE and NEXT once for each two neighbours.
// workgroup → LANES_X times TOGETHER channels × as many parts (planes_per_part planes of each channel) as there are lanes for

// The quads first .. stop, which are one plane's alone.
fn gather_own(state: ptr<function, Accumulator>, first: u32, stop: u32) {
    var quad = first;
    // A loop that ends with its condition: a processor that runs lanes under a mask would enter once more in vain.
    if (quad + 1u < stop) {
        loop {
            gather(state, quad);
            gather(state, quad + 1u);
            quad += 2u;
            if (quad + 1u >= stop) {
                break;
            }
        }
    }
    if (quad < stop) {
        gather(state, quad);
    }
}

// Of the elements first .. end, those of each strand.
fn values_by_strand(first: u32, end: u32) -> vec4<u32> {
    let ahead = vec4<u32>(3u, 2u, 1u, 0u);
    return (vec4<u32>(end) + ahead) / 4u - (vec4<u32>(first) + ahead) / 4u;
}

fn reduce_part(index: u32, lane: u32) {
    let lanes_y = WORKGROUP_SIZE / LANES_X;
    let part = (parameters.first_part + index / parameters.column_count) * lanes_y + lane / LANES_X;
    let channel = ((parameters.first_column + index % parameters.column_count) * LANES_X + lane % LANES_X) * TOGETHERu;
    if (lane >= lanes_y * LANES_X || part >= parameters.slots || channel >= parameters.channels) {
        return;
    }
    let inner = parameters.inner;
    let first_row = part * parameters.planes_per_part;
    let rows = min(parameters.planes_per_part, parameters.outer - first_row);
    let row_quads = parameters.channels * inner / 4u;
    var base = first_row * row_quads + channel * inner / 4u;
    let rows_per_fold = max(ADDITIONS_PER_FOLD / (inner / 4u + 1u), 1u);

    var state_PLANE = begin(vec4<u32>(channel + PLANEu));
    anchor_spread(&state_PLANE, 4u * base + PLANEu * inner, rows, 0u);
    var left = rows;
    loop {
        let gathered = min(left, rows_per_fold);
        var steps = gathered;
        loop {
            gather_own(&state_PLANE, base + (PLANEu * inner + 3u) / 4u, base + (PLANEu + 1u) * inner / 4u);
            gather_shared(&state_BEFORE, &state_NEXT, base + NEXTu * inner / 4u, vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(NEXTu * inner % 4u));
            base += row_quads;
            steps -= 1u;
            if (steps == 0u) {
                break;
            }
        }
        counted_by_strand(&state_PLANE, gathered * values_by_strand(PLANEu * inner, (PLANEu + 1u) * inner));
        fold(&state_PLANE, EVERY);
        left -= gathered;
        if (left == 0u) {
            break;
        }
    }
    write_record(part * parameters.channels + channel + PLANEu, combine_strands(state_PLANE.total));
}
