// The reduction over the lanes of a workgroup that share a column: lanes l, l + kept, l + 2·kept … become one, for each l
// below `kept`; the four strands, of up to four channels, stay apart.
// Every lane writes before any lane reads, so the memory needs no initialisation.
var<workgroup> lanes: array<Total, WORKGROUP_SIZE>;

fn combine_columns(mine: Total, lane: u32, kept: u32) -> Total {
    var total = mine;
    if (kept == WORKGROUP_SIZE) {
        return total;
    }
    for (var span = WORKGROUP_SIZE / 2u; span >= kept; span /= 2u) {
        lanes[lane] = total;
        workgroupBarrier();
        if (lane < span) {
            total = combine(total, lanes[lane + span]);
        }
        workgroupBarrier();
    }
    return total;
}
