// A record in memory, 16 bytes: the same for one channel or one part of it.
struct Moments {
    count: u32,
    anchor: f32,
    offset: f32,
    m2: f32,
}
