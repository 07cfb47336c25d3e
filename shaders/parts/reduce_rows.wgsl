// Rows of `columns` quads after which the channels repeat, swept in the order of memory: each lane holds the sums of
// several columns in registers, a workgroup's width apart. For processors that fetch ahead along memory, where a walk down
// single columns would wait for every line. A line that names BLOCK is written once for each column of a lane; registers have
// no index, so columns enter and leave at the first TURN blocks, a line that names ENTER for each, while all turn by as many:
// AFTER comes to BLOCK. A part has so few rows that one fold at its end serves.
// workgroup → part (rows_per_part rows) and group of GROUP columns
// Overrides: ALIGNED is true where every group is full and every row complete.
struct Sweep {
    part: u32,
    first_column: u32,
    columns: u32,         // of the group
    first_row: u32,
    end_row: u32,
    complete_row: u32,    // the first that is not complete, or end_row
}

// Anchors come from four rows spread over the part, so that an unlike beginning does not mislead. Lanes beyond the last
// column repeat it, and write nothing.
fn enter(sweep: Sweep, slot: u32) -> Entering {
    let column = sweep.first_column + min(slot, sweep.columns - 1u);
    let stride = parameters.columns;
    var state = begin(channels_of(column));
    let top = min(sweep.first_row * stride + column, (parameters.elements + 3u) / 4u - 1u);
    let own_rows = min(sweep.end_row, steps_to(column, parameters.elements / 4u, stride));
    let spread = (max(own_rows, sweep.first_row + 1u) - 1u - sweep.first_row) / 3u * stride;
    anchor(&state, load_x(top), load_x(top + spread), load_x(top + 2u * spread), load_x(top + 3u * spread));
    return entering_with(&state);
}

fn leave(sweep: Sweep, slot: u32, leaving: Leaving) {
    if (slot >= sweep.columns) {
        return;
    }
    let column = sweep.first_column + slot;
    var state = left(leaving, sweep.complete_row - sweep.first_row);
    if (!ALIGNED) {
        // What the column has in the row that is not complete, if the part holds that.
        let quad = sweep.complete_row * parameters.columns + column;
        if (sweep.complete_row < sweep.end_row && quad < (parameters.elements + 3u) / 4u) {
            renew(&state, channels_of(column));
            gather_masked(&state, quad, within(quad, 0u, parameters.elements));
        }
    }
    fold(&state, EVERY);
    write_column(sweep.part, column, state.total);
}

fn reduce_part(index: u32, lane: u32) {
    let stride = parameters.columns;
    let part = parameters.first_part + index / parameters.column_count;
    let first_column = (parameters.first_column + index % parameters.column_count) * GROUP;
    let first_row = part * parameters.rows_per_part;
    let end_row = min(first_row + parameters.rows_per_part, parameters.rows);
    let complete_row = clamp(parameters.elements / 4u / stride, first_row, end_row);
    let sweep = Sweep(part, first_column, min(GROUP, stride - first_column), first_row, end_row, complete_row);
    var entered_BLOCK: Entering;
    // Loops that end with their condition: a processor that runs lanes under a mask would enter once more in vain.
    var slot = lane;
    loop {
        entered_ENTER = enter(sweep, slot + ENTERu * WORKGROUP_SIZE);
        let turning_BLOCK = entered_BLOCK;
        entered_BLOCK = turning_AFTER;
        slot += TURNu * WORKGROUP_SIZE;
        if (slot >= GROUP) {
            break;
        }
    }

    let column_BLOCK = first_column + min(lane + BLOCKu * WORKGROUP_SIZE, sweep.columns - 1u);
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
        leave(sweep, slot + ENTERu * WORKGROUP_SIZE, left_ENTER);
        let turning_BLOCK = left_BLOCK;
        left_BLOCK = turning_AFTER;
        slot += TURNu * WORKGROUP_SIZE;
        if (slot >= GROUP) {
            break;
        }
    }
}
