// A record, of one channel or of one part of it; in memory its 16 bytes are one access.
struct Moments {
    count: u32,
    anchor: f32,
    offset: f32,
    m2: f32,
}

fn from_memory(words: vec4<u32>) -> Moments {
    let reals = bitcast<vec4<f32>>(words);
    return Moments(words.x, reals.y, reals.z, reals.w);
}

fn to_memory(record: Moments) -> vec4<u32> {
    return vec4<u32>(record.count, bitcast<vec3<u32>>(vec3<f32>(record.anchor, record.offset, record.m2)));
}
