// A plain copy, a stretch of 16-byte words per workgroup, four loads in flight: a yardstick, part of no operation.
// workgroup_id = stretch, in a grid of two dimensions
// reads  source [words]      writes  destination [words]
override WORKGROUP_SIZE: u32 = 1u;
override STRETCH: u32 = 1u;

// 16 bytes: vec4<u32> where a storage word holds halves, vec2<u64> for words of 64 bits.
alias Word = vec4<f32>;

@group(0) @binding(0) var<storage, read> source: array<Word>;
@group(0) @binding(1) var<storage, read_write> destination: array<Word>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn copy_loop(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = (group.y * groups.x + group.x) * STRETCH;
    let end = min(first + STRETCH, arrayLength(&destination));
    var word = first + lane;
    for (; word + 3u * WORKGROUP_SIZE < end; word += 4u * WORKGROUP_SIZE) {
        let a = source[word];
        let b = source[word + WORKGROUP_SIZE];
        let c = source[word + 2u * WORKGROUP_SIZE];
        let d = source[word + 3u * WORKGROUP_SIZE];
        destination[word] = a;
        destination[word + WORKGROUP_SIZE] = b;
        destination[word + 2u * WORKGROUP_SIZE] = c;
        destination[word + 3u * WORKGROUP_SIZE] = d;
    }
    for (; word < end; word += WORKGROUP_SIZE) {
        destination[word] = source[word];
    }
}
