// Channels last, and planes too small for a walk: rows of `columns` quads after which the channels repeat. Each lane
// holds one column, whose four elements keep to their channels, and walks down the rows.
// workgroup → part (rows_per_part rows) and block of LANES_X columns; lanes → LANES_X columns × rows

fn walk(state: ptr<function, Accumulator>, first: u32, stride: u32, steps: u32) {
    var quad = first;
    for (var done = 4u; done <= steps; done += 4u) {
        gather4(state, quad, quad + stride, quad + 2u * stride, quad + 3u * stride);
        quad += 4u * stride;
    }
    for (var done = steps & ~3u; done < steps; done += 1u) {
        gather(state, quad);
        quad += stride;
    }
    counted(state, steps);
}

fn reduce_part(index: u32, lane: u32) {
    let part = parameters.first_part + index / parameters.column_count;
    let lanes_y = WORKGROUP_SIZE / LANES_X;
    let lane_y = lane / LANES_X;
    let column = (parameters.first_column + index % parameters.column_count) * LANES_X + lane % LANES_X;
    let present = column < parameters.columns;

    let first_row = part * parameters.rows_per_part;
    let end_row = min(first_row + parameters.rows_per_part, parameters.rows);
    // Rows whose quad of this column is complete.
    let complete_quads = parameters.elements / 4u;
    let complete_rows = select(0u, min(end_row, steps_to(column, complete_quads, parameters.columns)), present);

    var state = begin(channels_of(column));
    // Absent columns read a quad that exists and drop it.
    let top = min(first_row * parameters.columns + column, (parameters.elements + 3u) / 4u - 1u);
    // Anchors come from four rows spread over the part, so that an unlike beginning does not mislead.
    let spread = (max(complete_rows, first_row + 1u) - 1u - first_row) / 3u * parameters.columns;
    anchor(&state, load_x(top), load_x(top + spread), load_x(top + 2u * spread), load_x(top + 3u * spread));
    for (var row = first_row; row < end_row; row += lanes_y * STEPS_PER_FOLD) {
        let first = row + lane_y;
        let steps = min(STEPS_PER_FOLD, steps_to(first, complete_rows, lanes_y));
        walk(&state, first * parameters.columns + column, lanes_y * parameters.columns, steps);
        fold(&state, EVERY);
    }
    // The tensor's last quad, where it is incomplete.
    let tail_row = complete_quads / parameters.columns;
    if (parameters.elements % 4u != 0u && complete_quads % parameters.columns == column && present
        && lane_y == 0u && tail_row >= first_row && tail_row < end_row) {
        let mask = within(complete_quads, 0u, parameters.elements);
        gather_masked(&state, complete_quads, mask);
        fold(&state, EVERY);
    }

    let total = combine_columns(state.total, lane, LANES_X);
    if (lane < LANES_X && present) {
        write_column(part, column, total);
    }
}
