//! How much memory it takes to leave a cache behind.

use crate::plan::AdapterKind;

/// What a processor is taken to have where nothing tells: more than most graphics processors of 2024 (NVIDIA H100 50,
/// RTX 4090 72, AMD RDNA2 and RDNA3 up to 128 MiB) and most desktop processors (32 MiB) have.
const GPU_BYTES: u64 = 128 << 20;
const CPU_BYTES: u64 = 32 << 20;

/// The last-level cache behind an adapter, in bytes: the processor's own for a software adapter, as far as the system
/// tells, and a generous guess otherwise.
pub fn last_level_cache_bytes(kind: AdapterKind) -> u64 {
    match kind {
        AdapterKind::Gpu => GPU_BYTES,
        AdapterKind::Cpu => cpu_cache_bytes().unwrap_or(CPU_BYTES),
    }
}

/// The largest cache that Linux names for the first core.
fn cpu_cache_bytes() -> Option<u64> {
    let caches = std::fs::read_dir("/sys/devices/system/cpu/cpu0/cache").ok()?;
    let sizes = caches.flatten().filter_map(|cache| std::fs::read_to_string(cache.path().join("size")).ok());
    sizes.filter_map(|size| parse(size.trim())).max()
}

/// `32768K`, `32M`, or bytes.
fn parse(size: &str) -> Option<u64> {
    let digits = size.trim_end_matches(['K', 'M', 'G']);
    let number: u64 = digits.parse().ok()?;
    let unit = match &size[digits.len()..] {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_linux_writes_them() {
        assert_eq!(parse("32768K"), Some(32 << 20));
        assert_eq!(parse("32M"), Some(32 << 20));
        assert_eq!(parse("512"), Some(512));
        assert_eq!((parse("K"), parse("1KM"), parse("")), (None, None, None));
    }
}
