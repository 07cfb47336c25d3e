//! The machine that figures come from.

use serde::{Deserialize, Serialize};
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

/// A machine, as files and reports name it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Machine {
    /// Operating system and version.
    pub system: String,
    /// Architecture: `x86_64`, `aarch64`.
    pub architecture: String,
    /// What the processor calls itself.
    pub cpu: String,
    /// Threads that it runs at once.
    pub threads: usize,
    /// Memory in bytes.
    pub memory_bytes: u64,
}

impl Machine {
    /// This one.
    pub fn here() -> Self {
        let asked = RefreshKind::nothing()
            .with_cpu(CpuRefreshKind::nothing())
            .with_memory(MemoryRefreshKind::nothing().with_ram());
        let system = System::new_with_specifics(asked);
        let cpu = system.cpus().first().map(|cpu| cpu.brand().trim().to_owned()).filter(|brand| !brand.is_empty());
        Self {
            system: System::long_os_version().unwrap_or_else(|| std::env::consts::OS.to_owned()),
            architecture: std::env::consts::ARCH.to_owned(),
            cpu: cpu.unwrap_or_else(|| "an unnamed processor".to_owned()),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: system.total_memory(),
        }
    }
}
