// The one reduction over the lanes of a workgroup, by fours: of the records of lanes l, l + span, l + 2·span and
// l + 3·span one is made, until one is left for each l below `kept`. A lane's four strands become one before.
// Every lane that is read has written before, so the memory needs no initialisation.
var<workgroup> lanes: array<Record, WORKGROUP_SIZE>;

fn lane_record(lane: u32, width: u32) -> Record {
    if (lane < width) {
        return lanes[lane];
    }
    return empty_record();
}

fn combine_lanes(mine: Total, lane: u32, kept: u32) -> Record {
    var record = combine_strands(mine);
    // Mesa does not see that the loop would end at once, and a barrier costs where it is never met.
    if (kept == WORKGROUP_SIZE) {
        return record;
    }
    for (var width = WORKGROUP_SIZE; width > kept;) {
        let span = max(width / 4u, kept);
        if (lane < width) {
            lanes[lane] = record;
        }
        workgroupBarrier();
        if (lane < span) {
            record = combine_strands(as_strands(
                lanes[lane],
                lanes[lane + span],
                lane_record(lane + 2u * span, width),
                lane_record(lane + 3u * span, width),
            ));
        }
        workgroupBarrier();
        width = span;
    }
    return record;
}
