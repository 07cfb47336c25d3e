// Channels last, and small planes: rows of `columns` quads after which the channels repeat. Each lane holds one
// column, whose four elements belong to four fixed channels, and walks down the rows. A line that names BLOCK is written once
// for each of the TRIP quads that a lane fetches before it writes.
// workgroup → part (rows_per_part rows) and block of LANES_X columns; lanes → LANES_X columns × rows
fn apply_part(index: u32, lane: u32) {
    let part = parameters.first_part + index / parameters.column_count;
    let column = (parameters.first_column + index % parameters.column_count) * LANES_X + lane % LANES_X;
    if (column >= parameters.columns) {
        return;
    }
    let coefficients = prepare4(channels_of(column));
    let stride = parameters.columns * (WORKGROUP_SIZE / LANES_X);
    let first_row = part * parameters.rows_per_part;
    let end = min(
        min(first_row + parameters.rows_per_part, parameters.rows) * parameters.columns,
        (parameters.elements + 3u) / 4u,
    );
    var quad = (first_row + lane / LANES_X) * parameters.columns + column;
    for (; quad + (TRIP - 1u) * stride < end; quad += TRIP * stride) {
        let fetched_BLOCK = fetch(quad + BLOCKu * stride);
        _ = finish(coefficients, quad + BLOCKu * stride, fetched_BLOCK);
    }
    for (; quad < end; quad += stride) {
        _ = finish(coefficients, quad, fetch(quad));
    }
}
