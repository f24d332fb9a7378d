//! One process of this host: its cpu, memory, files, bytes read and written.

use std::{
    io,
    sync::OnceLock,
    time::{Duration, Instant},
};

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use super::host::{Rows, percent};
use crate::model::{MetricKind, names};

/// Looks closer together than this tell nothing of the cpu, whose use is counted in hundredths of a second.
const CPU_LOOK_MIN: Duration = Duration::from_millis(90);

/// What the kernel tells of a process whoever asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sighting {
    /// What tells the process from a later one with the same pid.
    pub start: String,
    /// Its threads.
    pub threads: u64,
}

impl Sighting {
    /// The process that has this pid now. One that has ended and that nobody has waited for is none.
    ///
    /// # Errors
    /// The operating system does not tell.
    pub(super) fn of(pid: u32) -> io::Result<Option<Self>> {
        const NO_SUCH_PROCESS: i32 = 3;
        let text = match std::fs::read(format!("/proc/{pid}/stat")) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) if e.raw_os_error() == Some(NO_SUCH_PROCESS) => return Ok(None),
            Err(e) => return Err(e),
        };
        let stat = Stat::parse(&text)
            .ok_or_else(|| io::Error::other("its line in /proc is not understood"))?;
        if matches!(stat.state, b'Z' | b'X' | b'x') {
            return Ok(None);
        }
        Ok(Some(Self {
            start: format!("{}:{}", boot_id(), stat.start_ticks),
            threads: stat.threads,
        }))
    }
}

/// A line of `/proc/PID/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: u8,
    threads: u64,
    /// Clock ticks between the host's start and the process's. Unlike the time of day of either it stays the
    /// same when the clock is set.
    start_ticks: u64,
}

impl Stat {
    /// Source: proc_pid_stat(5), fields 3, 20 and 22. The name before them may hold blanks and parentheses.
    fn parse(text: &str) -> Option<Self> {
        let (_, after_name) = text.rsplit_once(')')?;
        let fields: Vec<&str> = after_name.split_ascii_whitespace().take(20).collect();
        Some(Self {
            state: *fields.first()?.as_bytes().first()?,
            threads: fields.get(17)?.parse().ok()?,
            start_ticks: fields.get(19)?.parse().ok()?,
        })
    }
}

/// Names this start of the host; empty where the kernel does not tell.
fn boot_id() -> &'static str {
    static BOOT: OnceLock<String> = OnceLock::new();
    BOOT.get_or_init(|| {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
        id.unwrap_or_default().trim().to_owned()
    })
}

/// What tells the process that has this pid now from a later one with the same pid: a text to be kept and
/// compared. `None` when there is no such process, or it cannot be looked at.
pub fn pid_start(pid: u32) -> Option<String> {
    Sighting::of(pid).ok().flatten().map(|seen| seen.start)
}

/// Looks at one process.
#[derive(Debug)]
pub(super) struct ProcessSampler {
    system: System,
    pid: u32,
    /// When the cpu was last looked at, and the milliseconds used by then.
    cpu: Option<(Instant, u64)>,
}

impl ProcessSampler {
    /// Takes the first look at the process with this pid, from which its use of the cpu counts.
    ///
    /// # Errors
    /// What the operating system refuses to tell.
    pub(super) fn new(pid: u32) -> Result<Self, String> {
        let mut system = System::new().map_err(|e| e.to_string())?;
        system.refresh_memory();
        // Fills the list of cpus.
        system.refresh_cpu_usage();
        let mut sampler = Self {
            system,
            pid,
            cpu: None,
        };
        sampler.refresh();
        sampler.cpu_percent();
        Ok(sampler)
    }

    /// A sampler of this process.
    ///
    /// # Errors
    /// What the operating system refuses to tell.
    pub(super) fn own() -> Result<Self, String> {
        Self::new(std::process::id())
    }

    fn refresh(&mut self) {
        let what = ProcessRefreshKind::nothing()
            .with_cpu()
            .with_memory()
            .with_disk_usage();
        let which = ProcessesToUpdate::Some(&[Pid::from_u32(self.pid)]);
        self.system.refresh_processes_specifics(which, true, what);
    }

    fn process(&self) -> Option<&sysinfo::Process> {
        self.system.process(Pid::from_u32(self.pid))
    }

    /// Share of the whole host's cpu since the last look; `None` when that was just now.
    fn cpu_percent(&mut self) -> Option<f64> {
        let used_ms = self.process()?.accumulated_cpu_time();
        let now = Instant::now();
        let Some((before, used_before_ms)) = self.cpu else {
            self.cpu = Some((now, used_ms));
            return None;
        };
        let elapsed = now.duration_since(before);
        if elapsed < CPU_LOOK_MIN {
            return None;
        }
        self.cpu = Some((now, used_ms));
        let used_ms = used_ms.saturating_sub(used_before_ms);
        Some(share_of_host(used_ms, elapsed, self.system.cpus().len()))
    }

    /// Adds what the process uses: shares of the whole host, and the usual `process_*` series. Nothing when
    /// there is no such process.
    ///
    /// Source of the names: Prometheus, "Writing client libraries", "Process metrics"; those of bytes read
    /// and written and of threads: the client libraries of VictoriaMetrics and of Rust.
    pub(super) fn sample(&mut self, rows: &mut Rows) {
        use MetricKind::{Counter, Gauge};
        self.refresh();
        let cpu = self.cpu_percent();
        let Some(process) = self.process() else {
            return;
        };
        let memory = percent(process.memory(), self.system.total_memory());
        let help = "Share of all cpus that the process uses";
        rows.put_percent(names::SYSTEM_CPU_USAGE, help, cpu);
        let help = "Share of the host's memory that is resident";
        rows.put_percent(names::SYSTEM_MEMORY_USAGE, help, memory);
        let cpu_seconds = process.accumulated_cpu_time() as f64 / 1_000.0;
        let help = "Time on the cpu, user and system";
        rows.put(
            "process_cpu_seconds_total",
            None,
            Counter,
            help,
            cpu_seconds,
        );
        for (name, help, value) in [
            (
                "process_resident_memory_bytes",
                "Resident memory",
                process.memory(),
            ),
            (
                "process_virtual_memory_bytes",
                "Virtual memory",
                process.virtual_memory(),
            ),
            (
                "process_start_time_seconds",
                "When the process started",
                process.start_time(),
            ),
        ] {
            rows.put(name, None, Gauge, help, value as f64);
        }
        if let Ok(Some(seen)) = Sighting::of(self.pid) {
            rows.put(
                "process_threads",
                None,
                Gauge,
                "Threads",
                seen.threads as f64,
            );
        }
        if let Some(files) = process.open_files() {
            let help = "Open file descriptors";
            rows.put("process_open_fds", None, Gauge, help, files as f64);
        }
        // Of another user's process nobody but root is told; what is not told reads as 0.
        if std::fs::read(format!("/proc/{}/io", self.pid)).is_ok() {
            let usage = process.disk_usage();
            for (name, help, bytes) in [
                (
                    "process_io_storage_read_bytes_total",
                    "Bytes read from storage",
                    usage.total_read_bytes,
                ),
                (
                    "process_io_storage_written_bytes_total",
                    "Bytes written to storage",
                    usage.total_written_bytes,
                ),
            ] {
                rows.put(name, None, Counter, help, bytes as f64);
            }
        }
    }
}

/// Percent of what all cpus could do in the time.
fn share_of_host(used_ms: u64, elapsed: Duration, cpus: usize) -> f64 {
    let possible_ms = elapsed.as_secs_f64() * 1_000.0 * cpus.max(1) as f64;
    (used_ms as f64 / possible_ms * 100.0).clamp(0.0, 100.0)
}

/// Names of all that [`ProcessSampler::sample`] adds.
pub(super) const PROCESS_METRICS: [&str; 10] = [
    names::SYSTEM_CPU_USAGE,
    names::SYSTEM_MEMORY_USAGE,
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_virtual_memory_bytes",
    "process_start_time_seconds",
    "process_threads",
    "process_open_fds",
    "process_io_storage_read_bytes_total",
    "process_io_storage_written_bytes_total",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_mislead() {
        let line = "42 (a) Z (b c) S 1 42 42 0 -1 4194560 103 0 0 0 1 2 0 0 20 0 7 0 1234 99 5";
        let stat = Stat {
            state: b'S',
            threads: 7,
            start_ticks: 1234,
        };
        assert_eq!(Stat::parse(line), Some(stat));
        assert_eq!(Stat::parse("42 (a) S 1 2 3"), None);
        assert_eq!(Stat::parse(""), None);
    }

    #[test]
    fn all_cpus_busy_are_a_hundred_percent() {
        let second = Duration::from_secs(1);
        assert_eq!(share_of_host(1_000, second, 4), 25.0);
        assert_eq!(share_of_host(4_000, second, 4), 100.0);
        assert_eq!(share_of_host(4_010, second, 4), 100.0);
        assert_eq!(share_of_host(0, second, 4), 0.0);
    }

    #[test]
    fn a_process_is_told_from_others() {
        let own = pid_start(std::process::id()).unwrap();
        assert_eq!(pid_start(std::process::id()), Some(own.clone()));
        assert_ne!(pid_start(1), Some(own));
        assert_eq!(pid_start(u32::MAX), None);
    }
}
