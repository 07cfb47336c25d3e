// Channels first: a workgroup holds one channel, whose planes are one sequence of units: each LANES_X lanes take a stretch
// of GROUP quads, dealt to them in turn.
// workgroup → channel
// Overrides: ALIGNED is true where every lane has as many units.
struct Tile {
    channel: vec4<u32>,
    writes: vec4<bool>,   // the channels whose results this lane writes
    first: u32,           // unit of the channel's first plane
    body: u32,            // units of a plane
    gap: u32,             // units between two planes of the channel
    units: u32,           // of the channel
}

fn tile_of(index: u32, lane: u32) -> Tile {
    let channel = parameters.first_column + index;
    let body = parameters.inner / UNIT;
    let writes = vec4<bool>(lane == 0u, false, false, false);
    let gap = (parameters.channels - 1u) * body;
    return Tile(vec4<u32>(channel), writes, channel * body, body, gap, parameters.outer * body);
}

// The units of a block, numbered within the channel.
fn units_of(lane: u32, block: u32) -> Place {
    let quads = lane / LANES_X * GROUP + block * LANES_X;
    return places_from(quads * (4u / UNIT) + lane % LANES_X, LANES_X);
}

// A channel has so few units that the quotient in f32 is exact: half a unit is more than its rounding.
fn place_of(tile: Tile, lane: u32, block: u32) -> Place {
    let unit = units_of(lane, block);
    let plane = Place((Real(unit) + 0.5) * (1.0 / f32(tile.body)));
    return tile.first + unit + plane * tile.gap;
}

fn present(tile: Tile, lane: u32, block: u32) -> vec4<bool> {
    if (ALIGNED) {
        return EVERY;
    }
    return each(units_of(lane, block) < Place(tile.units));
}

// A value of the channel, the same for all lanes.
fn first_of(tile: Tile) -> vec4<f32> {
    return vec4<f32>(load_x(Place(tile.first)).x);
}

var<workgroup> lanes: array<vec2<f32>, WORKGROUP_SIZE>;
var<workgroup> sums: array<vec2<f32>, 2u * SUMS>;

// The sums of all lanes and strands, for every lane; of a first and of a second time, so that none waits for those who still
// read. Where lanes are more than SUMS, some take every so many of them. A line that names TERM is written once for each sum:
// llvmpipe reads a place that it knows for all lanes at once.
fn totals_of(a: vec4<f32>, b: vec4<f32>, lane: u32, time: u32) -> Totals {
    var sum = vec2<f32>((a.x + a.y) + (a.z + a.w), (b.x + b.y) + (b.z + b.w));
    if (WORKGROUP_SIZE > SUMS) {
        lanes[lane] = sum;
        workgroupBarrier();
        for (var other = lane + SUMS; other < WORKGROUP_SIZE; other += SUMS) {
            sum += lanes[other];
        }
    }
    if (lane < SUMS) {
        sums[time * SUMS + lane] = sum;
    }
    workgroupBarrier();
    var total = vec2<f32>(0.0);
    total += sums[time * SUMS + TERMu];
    return Totals(vec4<f32>(total.x), vec4<f32>(total.y));
}
