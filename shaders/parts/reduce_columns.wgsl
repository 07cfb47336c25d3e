// Channels last, and planes too small for a walk: rows of `columns` quads after which the channels repeat. Each lane
// holds one column, whose four elements belong to four fixed channels, and walks down the rows.
// workgroup → part (rows_per_part rows) and block of LANES_X columns; lanes → LANES_X columns × rows
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
    let last = select(top, (complete_rows - 1u) * parameters.columns + column, complete_rows > first_row);
    let stride = parameters.columns;
    anchor(&state, vec4<u32>(
        min(top + lane_y * stride, last),
        min(top + (lane_y + lanes_y) * stride, last),
        min(top + (lane_y + 2u * lanes_y) * stride, last),
        min(top + (lane_y + 3u * lanes_y) * stride, last),
    ), EVERY, 4u * top);
    for (var row = first_row; row < end_row; row += lanes_y * STEPS_PER_FOLD) {
        let first = row + lane_y;
        let steps = min(STEPS_PER_FOLD, steps_to(first, complete_rows, lanes_y));
        walk(&state, first * stride + column, lanes_y * stride, steps);
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

    let total = combine_lanes(state.total, lane, LANES_X);
    if (lane < LANES_X && present) {
        write_column(part, column, total);
    }
}
