// Rows of `columns` quads after which the channels repeat, swept in the order of memory: each lane holds the sums of
// several columns in registers, a workgroup's width apart. For processors that fetch ahead along memory, where a walk down
// single columns would wait for every line. A line that names BLOCK is written once for each column of a lane, AFTER
// being the next one; registers have no index, so columns enter and leave at block 0 while all turn. A part has so few rows that
// one fold at its end serves.
// workgroup → part (rows_per_part rows) and group of GROUP columns
// Overrides: ALIGNED is true where every group is full and every row complete.
fn reduce_part(index: u32, lane: u32) {
    let part = parameters.first_part + index / parameters.column_count;
    let first_column = (parameters.first_column + index % parameters.column_count) * GROUP;
    let stride = parameters.columns;
    let columns = min(GROUP, stride - first_column);
    let first_row = part * parameters.rows_per_part;
    let end_row = min(first_row + parameters.rows_per_part, parameters.rows);
    let complete_quads = parameters.elements / 4u;
    let complete_row = clamp(complete_quads / stride, first_row, end_row);
    let last_quad = (parameters.elements + 3u) / 4u - 1u;
    var entered_BLOCK: Entering;
    // Anchors come from four rows spread over the part, so that an unlike beginning does not mislead.
    // Loops that end with their condition: a processor that runs lanes under a mask would enter once more in vain.
    var slot = lane;
    loop {
        // Lanes beyond the last column repeat it, and write nothing.
        let column = first_column + min(slot, columns - 1u);
        var state = begin(channels_of(column));
        let top = min(first_row * stride + column, last_quad);
        let own_rows = min(end_row, steps_to(column, complete_quads, stride));
        let spread = (max(own_rows, first_row + 1u) - 1u - first_row) / 3u * stride;
        anchor(&state, load_x(top), load_x(top + spread), load_x(top + 2u * spread), load_x(top + 3u * spread));
        entered_0 = entering_with(&state);
        let turning_BLOCK = entered_BLOCK;
        entered_BLOCK = turning_AFTER;
        slot += WORKGROUP_SIZE;
        if (slot >= GROUP) {
            break;
        }
    }

    let column_BLOCK = first_column + min(lane + BLOCKu * WORKGROUP_SIZE, columns - 1u);
    var state_BLOCK = entered(entered_BLOCK);
    var row = first_row * stride;
    if (first_row < complete_row) {
        loop {
            gather(&state_BLOCK, row + column_BLOCK);
            row += stride;
            if (row >= complete_row * stride) {
                break;
            }
        }
    }
    var left_BLOCK = leaving_with(&state_BLOCK);

    slot = lane;
    loop {
        if (slot < columns) {
            let column = first_column + slot;
            var state = left(left_0, complete_row - first_row);
            if (!ALIGNED) {
                // What the column has in the row that is not complete, if the part holds that.
                let quad = complete_row * stride + column;
                if (complete_row < end_row && quad <= last_quad) {
                    renew(&state, channels_of(column));
                    gather_masked(&state, quad, within(quad, 0u, parameters.elements));
                }
            }
            fold(&state, EVERY);
            write_column(part, column, state.total);
        }
        let turning_BLOCK = left_BLOCK;
        left_BLOCK = turning_AFTER;
        slot += WORKGROUP_SIZE;
        if (slot >= GROUP) {
            break;
        }
    }
}
