//! One process of this host: its cpu, memory, files.

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use super::host::{Rows, percent};
use crate::model::{MetricKind, names};

/// Looks at one process.
#[derive(Debug)]
pub(super) struct ProcessSampler {
    system: System,
    pid: Pid,
}

impl ProcessSampler {
    /// This process.
    ///
    /// # Errors
    /// What the operating system refuses to tell.
    pub(super) fn own() -> Result<Self, String> {
        let mut system = System::new().map_err(|e| e.to_string())?;
        system.refresh_memory();
        system.refresh_cpu_usage();
        let pid = sysinfo::get_current_pid().map_err(|e| e.to_string())?;
        let mut sampler = Self { system, pid };
        sampler.refresh();
        Ok(sampler)
    }

    fn refresh(&mut self) {
        let what = ProcessRefreshKind::nothing().with_cpu().with_memory();
        let which = ProcessesToUpdate::Some(&[self.pid]);
        self.system.refresh_processes_specifics(which, true, what);
    }

    /// Adds what the process uses: shares of the whole host, and the usual `process_*` series.
    pub(super) fn sample(&mut self, rows: &mut Rows) {
        use MetricKind::{Counter, Gauge};
        self.refresh();
        let Some(process) = self.system.process(self.pid) else {
            return;
        };
        // sysinfo counts in percent of one cpu.
        let cpus = self.system.cpus().len().max(1) as f64;
        let cpu = (f64::from(process.cpu_usage()) / cpus).clamp(0.0, 100.0);
        let memory = percent(process.memory(), self.system.total_memory());
        let help = "Share of all cpus that the process uses";
        rows.put_percent(names::SYSTEM_CPU_USAGE, help, Some(cpu));
        let help = "Share of the host's memory that is resident";
        rows.put_percent(names::SYSTEM_MEMORY_USAGE, help, memory);
        for (name, kind, help, value) in [
            (
                "process_resident_memory_bytes",
                Gauge,
                "Resident memory",
                process.memory() as f64,
            ),
            (
                "process_cpu_seconds_total",
                Counter,
                "Time on the cpu, user and system",
                process.accumulated_cpu_time() as f64 / 1_000.0,
            ),
            (
                "process_start_time_seconds",
                Gauge,
                "When the process started",
                process.start_time() as f64,
            ),
        ] {
            rows.put(name, None, kind, help, value);
        }
        if let Some(files) = process.open_files() {
            let help = "Open file descriptors";
            rows.put("process_open_fds", None, Gauge, help, files as f64);
        }
    }
}
